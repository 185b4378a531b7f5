"""A run's checkpoint: one file, which is replaced atomically.

It holds a checksum, then arrays and JSON in NumPy's npz, without pickle.
"""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cells.registry import find, source_of
from harness.settings import EXECUTION, to_dict
from harness.training import npz
from harness.training.files import checkpoint_name, make_within, write_whole
from harness.training.plan import Run

FORMAT = 1
UNFIT = "holds what this bench does not write; it starts again"
_CHECKSUM_BYTES = 32


@dataclass
class Checkpoint:
    """Where one run stands: arrays without the run axis, and everything else as JSON values."""

    arrays: dict[str, Tensor]
    update: int
    values: dict[str, Any] = field(default_factory=dict)


def path_of(folder: str | Path, run: Run) -> Path:
    """Returns the run's file."""
    return Path(folder) / checkpoint_name(run.id)


def digest(run: Run, corpus_fingerprint: str) -> str:
    """Returns a digest of what a checkpoint must agree in to be continued.

    That is the settings, the seed, the text and the cell's equations.
    """
    settings = {
        name: value for name, value in to_dict(run.settings).items() if name not in EXECUTION
    }
    identity = [
        FORMAT,
        settings,
        list(run.seed),
        corpus_fingerprint,
        source_of(find(run.settings.cell)),
    ]
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def save(folder: str | Path, run: Run, corpus_fingerprint: str, checkpoint: Checkpoint) -> None:
    """Writes the run's file: whole, or not at all."""
    path = path_of(folder, run)
    make_within(path.parent.parent.parent, path.parent)  # FOLDER/checkpoints/STUDY
    same = digest(run, corpus_fingerprint)
    header = {
        "digest": same,
        "run": run.id,
        "update": checkpoint.update,
        "values": checkpoint.values,
    }
    named = {name: tensor.detach().cpu().numpy() for name, tensor in checkpoint.arrays.items()}
    content = npz.to_bytes(header, named)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    write_whole(path, hashlib.sha256(content).digest(), content, partial=partial)


def load(
    folder: str | Path, run: Run, corpus_fingerprint: str
) -> tuple[Checkpoint | None, str | None]:
    """Returns the run's checkpoint, and why one that exists is not used.

    Each is None where there is nothing to say.
    """
    path, not_used = path_of(folder, run), f"checkpoint of {run.id}: not used"
    try:
        written = path.read_bytes()
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return None, f"{not_used}, {path.name} cannot be read ({error.strerror}); it starts again"
    checksum, content = written[:_CHECKSUM_BYTES], written[_CHECKSUM_BYTES:]
    if hashlib.sha256(content).digest() != checksum:
        return None, f"{not_used}, {path.name} is damaged; it starts again"
    try:
        header, named = npz.from_bytes(content)
        own, update, values = header["digest"], header["update"], header["values"]
        tensors = {name: torch.from_numpy(array) for name, array in named.items()}
    except (npz.ArraysError, KeyError, TypeError, ValueError):
        return None, f"{not_used}, {path.name} {UNFIT}"
    if own != digest(run, corpus_fingerprint):
        return None, f"{not_used}, its settings, text or equations differ; it starts again"
    if type(update) is not int or update < 1 or not isinstance(values, dict):
        return None, f"{not_used}, {path.name} {UNFIT}"
    return Checkpoint(tensors, update, values), None


def unfit(run: Run) -> str:
    """Returns what is said of a whole checkpoint whose content no run could have written."""
    return f"checkpoint of {run.id}: not used, {checkpoint_name(run.id)} {UNFIT}"


def remove(folder: str | Path, run_id: str) -> None:
    """Removes the file of the run with that id; does nothing where there is none."""
    Path(folder, checkpoint_name(run_id)).unlink(missing_ok=True)
