"""Raw tables to features: columns, the rule fitted for each, targets, and the `Preprocessor` that combines them."""
