"""The cells of this package by their files, and the names that stand for a cell with settings."""

from typing import Any

FAMILIES: dict[str, tuple[str, ...]] = {
    "elman": ("rnn-tanh", "rnn-relu", "indrnn", "rhn", "lem", "cornn", "scrn"),
    "antisymmetric": ("antisymmetric-rnn", "antisymmetric-rnn-gated"),
    "lstm": (
        "lstm",
        "lstm-no-output-tanh",
        "lstm-coupled",
        "lstm-peephole",
        "lstm-no-input-gate",
        "lstm-no-forget-gate",
        "lstm-no-output-gate",
        "lstm-no-input-tanh",
        "lstm-capped",
    ),
    "odyssey": (
        "odyssey-nig",
        "odyssey-nfg",
        "odyssey-nog",
        "odyssey-niaf",
        "odyssey-noaf",
        "odyssey-cifg",
        "odyssey-np",
        "odyssey-fgr",
    ),
    "lstm_relatives": (
        "lstm-layer-norm",
        "lstm-multiplicative",
        "wmclstm",
        "nas",
        "janet",
        "slstm",
        "ran",
    ),
    "lstm_products": (
        "lstm-block-diagonal",
        "lstm-projected",
        "lstm-mogrifier",
        "lstm-multiplicative-integration",
    ),
    "ordered": ("lstm-on",),
    "gru": ("gru", "gru-reset-before", "gru-no-reset", "gru-no-update", "gru1", "gru2", "gru3"),
    "mgu": ("mgu", "mgu-reset-after", "mgu1", "mgu2", "mgu3", "mut1", "mut3"),
    "gated": ("ugrnn", "ligru", "minimal-rnn", "star", "light-rnn", "sgrn", "atr", "cfn"),
    "fast": ("fastrnn", "fastgrnn"),
    "bistable": ("nbrc", "brc"),
    "linear": ("min-gru", "min-lstm", "t-rnn", "t-gru", "t-lstm", "qrnn"),
    "highway": ("intersection-rnn", "sru", "rg-lru"),
    "normalized": ("gru-layer-norm", "indrnn-layer-norm"),
    "independent": ("indylstm", "indygru", "unicornn"),
    "integration": ("gru-multiplicative-integration",),
    "residual": ("lstm-residual",),
    "simple_gated": ("sgu", "dsgu"),
    "continuous": ("cfc",),
    "orthogonal": ("exprnn", "scornn"),
    "weighted_past": ("rwkv-4", "lru"),
}
"""File of this package -> the cells that it defines, in the order of the file."""
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "irnn": ("rnn-relu", {"initialization": "identity"}),
    "lstm-1997": ("lstm-no-forget-gate", {}),
}
"""Names in the literature for a cell with certain settings: (cell, settings).

A study may write them as a cell.
"""
