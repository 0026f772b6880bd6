"""Raw tables in, answers out: columns, what is learnt of each, targets, and the `Preprocessor` of them all."""
