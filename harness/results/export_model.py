"""What a finished run learned, as a file for others: safetensors, torch.export, ONNX.

Every file is read again and run before it has its name, at other sizes than it was made with.
"""

import contextlib
import copy
import functools
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.layer import Recurrent
from harness.layer.checks import as_state
from harness.results import safetensors_file
from harness.results.modules import RunModule, module_of
from harness.results.names import Archive
from harness.results.trained_models import ModelError, saved_model
from harness.store import models
from harness.store.configuration import locate
from harness.training.files import write_whole
from harness.training.saved_model import SavedModel

EXTRA = "pip install 'recurrent-bench[export]'"
KEY = "recurrent-bench.json"
"""Names the description in a file: an extra file of torch.export's, a property of ONNX's."""
TRACED, TRIED = (3, 2), ((1, 1), (7, 3))
"""Time steps and rows of the example that is traced, and of those that a file is tried with."""
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-6}
"""How near a file's numbers must be, relative to 1 or to their size.

Sums have another order, and torch's exporter to ONNX writes a step's constants in float32.
"""
TIME, BATCH = "time", "batch"
"""The sizes that a file leaves open."""

Computed = Callable[[Tensor, tuple[Tensor, ...]], Sequence[Tensor]]
"""Maps inputs (T, B) or (T, B, I) and state to outputs and state, flat."""


@dataclass(frozen=True)
class Source:
    """What a file is made of.

    Attributes:
        saved: What the run ended with.
        module: The same as a module of torch.
        description: What the file says of itself, JSON.
    """

    saved: SavedModel
    module: RunModule
    description: str


@dataclass(frozen=True)
class Form:
    """A form of file.

    Attributes:
        packages: What writes and reads it, beside torch.
        content: Returns the file.
        opened: Returns what such a file computes.
    """

    packages: tuple[str, ...]
    content: Callable[[Source], bytes]
    opened: Callable[[bytes, Source], Computed]


class Exported(NamedTuple):
    """What was written: files, and the address of the model in MLflow where it was logged."""

    paths: list[Path]
    address: str | None


def export_model(
    run: str,
    file: str | Path,
    folder: str | Path | None = None,
    tracking: str | None = None,
    *,
    cell_files: Sequence[str | Path] = (),
    changed_cell: bool = False,
    log: bool = False,
) -> Exported:
    """Writes what a finished replicate learned into a file; its suffix says the form.

    Args:
        run: As :func:`harness.load_model` takes it.
        file: Ends in a suffix of FORMS; beside .safetensors lies a .json.
        folder: Where ``mlflow.db`` lies; None: as ``harness run`` finds it.
        tracking: MLflow's store, as ``harness run`` was given it; None: as that finds it.
        cell_files: Python files of cells of your own that the run needs.
        changed_cell: Take the cell even where its source was changed since.
        log: Log an ONNX file as a model of the run in MLflow too.

    Raises:
        ValueError: The file's name is wrong or taken, a package is missing, there is no such run
            or it has no model, or its cell cannot have the form; the message says what is wrong.
    """
    path = Path(file)
    if problems := _problems(path, log):
        raise ModelError("\n".join(problems))
    saved = saved_model(run, folder, tracking, cell_files=cell_files)
    module = module_of(saved, changed_cell=changed_cell, engine="reference")
    module.requires_grad_(False)
    form = FORMS[path.suffix]
    source = Source(saved, module, _description(saved, module))
    with _quietly(), torch.no_grad():
        content = form.content(source)
        _try(path, module, form.opened(content, source))
    contents = {path: content}
    if path.suffix == safetensors_file.SUFFIX:
        contents[path.with_suffix(".json")] = source.description.encode()
    address = None
    try:
        for each, written in contents.items():
            write_whole(each, written)
        if log:
            locations = locate(run.partition(":")[0], folder, tracking)
            (run_id,) = Archive(locations).find(run).runs["run_id"]
            address = models.log_onnx(locations.tracking_uri, run_id, content)
    except BaseException:  # half of it would refuse the same command
        for each in contents:
            each.unlink(missing_ok=True)
        raise
    return Exported(list(contents), address)


def _problems(path: Path, log: bool) -> list[str]:
    """Returns what is wrong with a file's name and with what is installed, a line each."""
    *others, last = FORMS
    if path.suffix not in FORMS:
        return [
            f"{path}: must end in {', '.join(others)} or {last}, which says its form, "
            f"but got suffix={path.suffix!r}. Name another file."
        ]
    taken = [path]
    if path.suffix == safetensors_file.SUFFIX:
        taken.append(path.with_suffix(".json"))
    problems = [
        f"{each}: must not exist yet, but does. Name another file, or remove it."
        for each in taken
        if each.exists()
    ]
    if not path.absolute().parent.is_dir():
        problems.append(f"{path.parent}: must be a folder, but is none. Make it first.")
    wanted = FORMS[path.suffix].packages
    if absent := [name for name in wanted if importlib.util.find_spec(name) is None]:
        problems.append(
            f"{path}: needs the packages {', '.join(wanted)}, but {', '.join(absent)} is not "
            f"installed. Install all of them: {EXTRA}."
        )
    if log and path.suffix != ONNX:
        problems.append(
            f"--log: must come with a file that ends in {ONNX}, the form that MLflow serves, but "
            f"got {path}. Leave it out, or name another file."
        )
    return problems


def _description(saved: SavedModel, module: RunModule) -> str:
    """Returns what a file says of itself: the run, the settings, the start, any vocabulary."""
    named = zip(module.cell.state, module.start(), strict=True)
    start = {name: values[:, 0].tolist() for name, values in named}
    return safetensors_file.description(saved, start)


def _example(module: RunModule, num_steps: int, rows: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Returns tokens (T, B), or vectors (T, B, I), and a state."""
    state = tuple(values + 0.1 for values in module.start(rows))
    count = module.num_inputs
    if module.reads_tokens:
        return torch.arange(num_steps * rows).remainder(count).view(num_steps, rows), state
    numbers = torch.linspace(-1.0, 1.0, num_steps * rows * count, dtype=state[0].dtype)
    return numbers.view(num_steps, rows, count), state


def _computed(
    module: Callable[..., Any], inputs: Tensor, state: tuple[Tensor, ...]
) -> list[Tensor]:
    outputs, final = module(inputs, state[0] if len(state) == 1 else state)
    return [outputs, *as_state(final)]


def _try(path: Path, module: RunModule, computed: Computed) -> None:
    """Checks that a file gives the run's numbers.

    Raises:
        ModelError: It does not.
    """
    for sizes in TRIED:
        inputs, state = _example(module, *sizes)
        expected, found = _computed(module, inputs, state), computed(inputs, state)
        for one, other in zip(expected, found, strict=True):
            allowed = TOLERANCES[one.dtype] * (1 + one.abs())
            if one.shape != other.shape or not ((one - other).abs() <= allowed).all():
                raise ModelError(
                    f"{path}: must give the run's own numbers, but at {sizes[0]} time steps and "
                    f"{sizes[1]} rows gives others, so it was not written. Take another form, and "
                    "please report it with the versions of torch, onnxscript and onnxruntime."
                )


def _program(module: RunModule) -> tuple[torch.export.ExportedProgram, Any]:
    """Returns the traced model, and which of its sizes are open.

    Raises:
        ModelError: The cell's step cannot be traced.
    """
    module = _prepared(module)
    inputs, state = _example(module, *TRACED)
    batch = torch.export.Dim(BATCH)
    rows: Any = tuple({1: batch} for _ in state)
    sizes = {0: torch.export.Dim(TIME), 1: batch}, rows[0] if len(state) == 1 else rows
    given = inputs, state[0] if len(state) == 1 else state
    try:
        return torch.export.export(module, given, dynamic_shapes=sizes), sizes
    except Exception as error:  # torch raises whatever its tracer stumbles over
        raise ModelError(
            f"{module.cell.name}: its step must be one that torch.export can trace, with any "
            f"number of time steps and rows, but {type(error).__name__}: {_first_line(error)}. "
            f"Take a file that ends in {safetensors_file.SUFFIX}."
        ) from error


def _prepared(module: RunModule) -> RunModule:
    """Returns a copy whose parameters are what its cell prepares of them.

    A file is trained no more, so they need not be computed again at every call, nor by operations
    that a form may lack. Where they have other names or shapes, the module itself is returned.
    """
    cell, made = module.cell, copy.deepcopy(module)
    for layer in made.layers:
        assert isinstance(layer, Recurrent)
        weights = layer.weights("_l0")
        ready = cell.prepared({name: values.unsqueeze(0) for name, values in weights.items()})
        shapes = {name: values.shape[1:] for name, values in ready.items()}
        if shapes != {name: values.shape for name, values in weights.items()}:
            return module
        for name, values in weights.items():
            values.copy_(ready[name].squeeze(0))
        unchanged = staticmethod(lambda parameters: parameters)
        layer.cell = type(cell.__name__, (cell,), {"prepared": unchanged, "__doc__": cell.__doc__})
    return made


def _first_line(error: BaseException) -> str:
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), "").rstrip(".")


def _safetensors(source: Source) -> bytes:
    return safetensors_file.content(source.saved)


def _opened_safetensors(content: bytes, source: Source) -> Computed:
    saved = safetensors_file.model_of(content, source.description)
    return functools.partial(_computed, module_of(saved, changed_cell=True, engine="reference"))


def _pt2(source: Source) -> bytes:
    file = io.BytesIO()
    torch.export.save(_program(source.module)[0], file, extra_files={KEY: source.description})
    return file.getvalue()


def _opened_pt2(content: bytes, source: Source) -> Computed:
    return functools.partial(_computed, torch.export.load(io.BytesIO(content)).module())


def _onnx(source: Source) -> bytes:
    program, sizes = _program(source.module)
    (inputs, outputs), names = source.module.names, source.module.cell.state
    try:
        made = torch.onnx.export(
            program,
            dynamo=True,
            dynamic_shapes=sizes,
            input_names=[inputs, *names],
            output_names=[outputs, *(f"next_{name}" for name in names)],
            verbose=False,
            custom_translation_table=_lacking(source.saved.settings.precision),
        )
    except torch.onnx.OnnxExporterError as error:
        raise _not_in_onnx(source, error) from error
    assert made is not None
    made.model.metadata_props[KEY] = source.description
    content: bytes = made.model_proto.SerializeToString()
    return content


def _lacking(precision: str) -> dict[Callable[..., Any], Callable[..., Any]]:
    """Returns operations that ONNX Runtime lacks in a precision, each made of some that it has."""
    from onnxscript import opset18  # of an extra

    onnx: Any = opset18  # typed, an operation takes constants of no type that is open

    def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
        """Computes log(1 + exp(beta x)) / beta; no power overflows, so no threshold is needed."""
        scale, one = (onnx.CastLike(onnx.Constant(value_float=v), x) for v in (beta, 1.0))
        scaled = onnx.Mul(scale, x)
        rest = onnx.Log(onnx.Add(one, onnx.Exp(onnx.Neg(onnx.Abs(scaled)))))
        return onnx.Div(onnx.Add(onnx.Relu(scaled), rest), scale)

    return {torch.ops.aten.softplus.default: softplus} if precision == "float64" else {}


def _opened_onnx(content: bytes, source: Source) -> Computed:
    import onnxruntime  # of an extra

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: its warnings are of the exporter's own parts
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes have no common one
        raise _not_in_onnx(source, error) from error
    names = [each.name for each in session.get_inputs()]

    def computed(inputs: Tensor, state: tuple[Tensor, ...]) -> list[Tensor]:
        given = dict(zip(names, (values.numpy() for values in (inputs, *state)), strict=True))
        return [torch.from_numpy(values) for values in session.run(None, given)]

    return computed


def _not_in_onnx(source: Source, error: BaseException) -> ModelError:
    while error.__cause__ is not None:
        error = error.__cause__
    return ModelError(
        f"{source.module.cell.name}: its operations must be some that ONNX Runtime has in "
        f"{source.saved.settings.precision}, but it raised: {_first_line(error)}. "
        f"Take a file that ends in {PT2}."
    )


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Has the exporters say nothing: their warnings are of their own parts, to their makers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


PT2, ONNX = ".pt2", ".onnx"
FORMS = {
    safetensors_file.SUFFIX: Form(("safetensors",), _safetensors, _opened_safetensors),
    PT2: Form((), _pt2, _opened_pt2),
    ONNX: Form(("onnx", "onnxscript", "onnxruntime"), _onnx, _opened_onnx),
}
"""Suffix of a file -> its form."""
