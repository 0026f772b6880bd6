"""Arrays, data frames, tensors, CSR matrices and streams of chunks: validated, converted and cut into batches."""
