"""The passes over a network that the worker runs: products, other layers, the loss, updates."""
