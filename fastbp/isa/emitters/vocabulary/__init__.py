"""What the emitters are written in: vectors of one cache line, and functions of them."""
