"""`Sequential`, the model that users compose, train and save; and `fold`."""
