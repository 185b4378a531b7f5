"""What a cell costs in training and forward, beside torch.nn, the published loop and the machine's
products.

Measuring needs torch and numpy alone (``python -m harness.bench``); only
:mod:`harness.bench.figure` needs more.
"""
