"""A recurrent language model, its initialization and its regularization.

The model is a lookup, stacked cells and a read-out.
"""
