"""A run's model as two files: NAME.safetensors with its parameters, NAME.json with the rest.

The parameters have the names of the run, ``layer0.W``; the JSON says what they are parameters of.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.training import npz
from harness.training.saved_model import SavedModel, SavedModelError

SUFFIX = ".safetensors"
START = "start"
"""What the JSON holds beside a model's own header: the state at the start of a stream."""


def description(saved: SavedModel, start: Mapping[str, Any]) -> str:
    """Returns the JSON: all that the run says of its model, and the state at the start."""
    header, _ = npz.from_bytes(saved.to_bytes())
    return json.dumps({**header, START: start})


def content(saved: SavedModel) -> bytes:
    """Returns the file with the parameters."""
    from safetensors import numpy  # of an extra

    written: bytes = numpy.save(saved.parameters, {"run": saved.run, "cell": saved.settings.cell})
    return written


def read(path: Path) -> SavedModel:
    """Returns the model of the two files.

    Raises:
        SavedModelError: One of them is missing or damaged.
    """
    try:
        from safetensors import SafetensorError
    except ModuleNotFoundError as error:
        raise SavedModelError(
            f"{path}: needs the package safetensors, which is not installed. "
            "Install it: pip install 'recurrent-bench[export]'."
        ) from error
    beside = path.with_suffix(".json")
    if absent := [str(each) for each in (path, beside) if not each.is_file()]:
        raise SavedModelError(
            f"{path}: must be a file that `harness export-model` wrote, with {beside.name} beside "
            f"it, but there is no {' and no '.join(absent)}. Correct the path, or copy both."
        )
    try:
        return model_of(path.read_bytes(), beside.read_text(encoding="utf-8"))
    except (ValueError, SafetensorError) as error:
        raise SavedModelError(
            f"{path}: it and {beside.name} must be as `harness export-model` wrote them, but got "
            f"error={str(error)!r}. Export the run again."
        ) from error


def model_of(parameters: bytes, description: str) -> SavedModel:
    """Returns the model of the contents of the two files."""
    from safetensors import numpy  # of an extra

    header = json.loads(description)
    header.pop(START, None)
    return SavedModel.from_bytes(npz.to_bytes(header, numpy.load(parameters)))
