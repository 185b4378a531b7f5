"""Engine `gpu`: a cell's program as batched products and Triton kernels."""
