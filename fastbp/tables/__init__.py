"""Tables before they become features: what a value is, and columns from files, frames and arrays."""
