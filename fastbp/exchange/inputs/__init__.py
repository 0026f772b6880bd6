"""What stands before a network in a graph: preprocessing of raw rows, scaling layers of other libraries."""
