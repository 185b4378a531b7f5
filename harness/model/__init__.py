"""A recurrent language model: lookup, stacked cells, read-out; its first parameters and its random
masks.
"""
