"""A machine that runs PTX, the text that NVRTC and Triton make of a kernel, without a GPU.

It computes what the kernel computes, and tells what a device would not forgive: an address outside
its memory or not aligned, two threads that meet without a barrier between them, another block's
memory before that block has begun or after it has ended, warps that are not together where an
instruction wants them together, and barriers that nobody leaves.
"""
