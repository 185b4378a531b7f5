"""What a cell costs in training and forward, beside torch.nn and the machine's peak.

The published loop is measured too. Measuring needs torch and numpy alone (``python -m
harness.bench``); only :mod:`harness.bench.figure` needs more.
"""
