"""What users give to train on: arrays, frames and tensors as they are, sources chunk by chunk, in windows of rows."""
