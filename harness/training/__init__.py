"""A pack of runs in training. A worker needs torch and NumPy for it, and nothing else."""
