"""The command that writes what a run learned as a file for others."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import ChangedCell, Folder, Run, RunCells, Tracking, argument, option


def export_model(
    run: Run,
    file: Annotated[
        Path,
        argument(
            "FILE",
            "File to write, which must not exist yet. Its suffix says the form: .safetensors (with "
            "a .json beside it), .pt2 (torch.export) or .onnx.",
        ),
    ],
    log: Annotated[
        bool,
        option(
            "--log",
            help="Log the .onnx file as a model of the run in MLflow, which `mlflow models serve` "
            "serves. (default: the file alone is written)",
        ),
    ] = False,
    cell_file: RunCells = None,
    changed_cell: ChangedCell = False,
    folder: Folder = None,
    tracking: Tracking = None,
) -> None:
    """Write what a finished run learned, for other programs."""
    from harness.results import export_model

    written = export_model.export_model(
        run,
        file,
        folder,
        tracking,
        cell_files=cell_file or (),
        changed_cell=changed_cell,
        log=log,
    )
    for path in written.paths:
        typer.echo(path)
    if written.address is not None:
        typer.echo(written.address)
