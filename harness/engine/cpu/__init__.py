"""Engine `cpu`: a cell's program as C++, compiled once, with the products and kernels that it
calls.
"""
