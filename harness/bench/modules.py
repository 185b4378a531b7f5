"""``harness bench --module``: a cell as a layer of a script, beside the modules that scripts have.

All of them are measured in turn, A B C A B C, on one input, and compared within each round.
"""

import functools
import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn

import cells
from harness import timing
from harness.bench import measure
from harness.bench.judge import Estimate, estimate
from harness.bench.options import Options
from harness.bench.record import MODES, BenchError, Mode, Shape
from harness.bench.tables import LEFT, aligned, machine
from harness.engine import dtype_of
from harness.layer import Recurrent

OURS = "Recurrent"
STRANGERS = {
    "lstm-peephole": "PeepholeLSTM",
    "janet": "JANET",
    "mgu": "MGU",
    "ugrnn": "UGRNN",
    "atr": "ATR",
    "cfn": "CFN",
    "ran": "RAN",
    "ligru": "LiGRU",
    "lem": "LEM",
    "nas": "NAS",
}
"""Cell -> its class in torchrecurrent, which is measured where it is installed."""
WARM_UP_PASSES = 2
PRECISIONS = ("float32", "float64")
"""Those that modules of torch have as a dtype."""


@dataclass
class Timed:
    """One module at one shape in one mode.

    Attributes:
        shape: Its sizes.
        mode: ``train``, forward and backward; or ``forward``, without a gradient.
        cell: The cell's name.
        name: Whose module it is.
        passes: How many a repeat has.
        seconds: Of one pass, one for each round.
        disturbed: How many repeats other processes disturbed.
    """

    shape: str
    mode: Mode
    cell: str
    name: str
    passes: int = 1
    seconds: list[float] = field(default_factory=list)
    disturbed: int = 0


def run(options: Options, words: Sequence[str]) -> str:
    """Measures, writes what was measured where ``--json`` says, and returns it as text.

    Raises:
        BenchError: Modules have no such precision.
    """
    if options.precision not in PRECISIONS:
        raise BenchError(
            f"precision: must be one of {', '.join(PRECISIONS)} with --module, but got "
            f"precision={options.precision!r}."
        )
    torch.set_num_threads(options.threads)
    made = measure.begin(options, words).made
    timed = [each for shape in options.shapes for each in measured(shape, options)]
    if options.json is not None:
        content = {"made": made, "modules": [asdict(each) for each in timed]}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return text(timed, made)


def makers(cell: str, size: int) -> dict[str, Callable[[], nn.Module]]:
    """Returns what makes every module of a cell of ``size`` inputs and units, by its name."""
    found: dict[str, Callable[[], nn.Module]] = {OURS: lambda: Recurrent(cell, size, size)}
    reference = cells.find(cell).reference
    if reference is not None:
        kind, arguments = reference
        found[f"nn.{kind}"] = functools.partial(getattr(nn, kind), size, size, **dict(arguments))
    if cell in STRANGERS and importlib.util.find_spec("torchrecurrent"):
        import torchrecurrent

        kind = STRANGERS[cell]
        found[f"torchrecurrent.{kind}"] = functools.partial(
            getattr(torchrecurrent, kind), size, size
        )
    return found


def measured(shape: Shape, options: Options) -> list[Timed]:
    """Returns the times of all modules at one shape."""
    device, dtype = torch.device(options.device), dtype_of(options.precision)
    sizes = shape.bptt_length, shape.batch_size, shape.hidden_size
    inputs = torch.randn(sizes, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    passes: list[tuple[Timed, Callable[[], None]]] = []
    for cell in options.cells:
        for name, make in makers(cell, shape.hidden_size).items():
            module = make().to(device, dtype)
            for mode in MODES:
                timed = Timed(shape.sizes.rpartition(",")[0], mode, cell, name)
                passes.append((timed, functools.partial(_pass, module, inputs, mode)))
    for timed, once in passes:
        _timed(once, WARM_UP_PASSES, device)
        each = _timed(once, WARM_UP_PASSES, device).seconds / WARM_UP_PASSES
        timed.passes = max(1, int(options.seconds / each) + 1)
    for _ in range(options.rounds):
        for timed, once in passes:
            _timed(once, 1, device)  # not counted: it refills the caches
            watch = _timed(once, timed.passes, device)
            timed.seconds.append(watch.seconds / timed.passes)
            timed.disturbed += watch.busy
    return [timed for timed, _ in passes]


def _pass(module: nn.Module, inputs: Tensor, mode: Mode) -> None:
    if mode == "forward":
        with torch.no_grad():
            module(inputs)
        return
    module.zero_grad(set_to_none=True)
    output, _ = module(inputs)
    output.backward(torch.ones_like(output))


def _timed(once: Callable[[], None], count: int, device: torch.device) -> timing.Watch:
    """Returns what so many passes take; the device has done them then."""
    with timing.Watch() as watch:
        for _ in range(count):
            once()
        timing.synchronize(device)
    return watch


def ratios(ours: Timed, other: Timed) -> Estimate:
    """Returns how many times as fast ours is, from the ratios within rounds."""
    pairs = zip(other.seconds, ours.seconds, strict=True)
    return estimate([theirs / own for theirs, own in pairs])


def text(timed: Sequence[Timed], made: dict[str, str]) -> str:
    """Returns a table a mode, and where it was measured."""
    ours = {(each.shape, each.mode, each.cell): each for each in timed if each.name == OURS}
    parts = [machine(made)]
    for mode in MODES:
        lines = [("cell", "shape", "run by", "ms", f"{OURS} is so many times as fast, 95 %")]
        for each in (t for t in timed if t.mode == mode):
            milliseconds = f"{1e3 * estimate(each.seconds).median:.2f}"
            faster = ""
            if each.name != OURS:
                faster = _told(ratios(ours[each.shape, each.mode, each.cell], each))
            lines.append((each.cell, each.shape, each.name, milliseconds, faster))
        title = "Forward and backward" if mode == "train" else "Forward only"
        parts.append(f"{title}\n{aligned(lines, LEFT | {'shape'})}")
    repeats = sum(len(each.seconds) for each in timed)
    disturbed = sum(each.disturbed for each in timed)
    return "\n\n".join([*parts, f"{disturbed} of {repeats} repeats were disturbed."]) + "\n"


def _told(ratio: Estimate) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{ratio.median:.2f}"
    return f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"
