"""Arrays, data frames, tensors, CSR matrices and streams of chunks, checked and cut into batches."""
