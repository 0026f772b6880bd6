"""What the compiled core is told: the fields of a layer, operation codes, the context, thin pointers into it."""
