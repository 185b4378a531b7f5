"""Engine `cpu`: a cell's program as C++, compiled once, with the kernels that it calls."""
