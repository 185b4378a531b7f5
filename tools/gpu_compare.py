"""What an engine makes of one update on a device, beside `reference` on the CPU.

One kernel that never ran before may do anything: write nothing, write elsewhere, or never end. So
each rung of :data:`LADDER` is compared in a process of its own, with seconds of its own.
"""

import itertools
import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from agreement import Case, case, errors
from torch import Tensor

from harness import engine

BOUNDS = {"float64": 1e-9, "float32": 2e-4, "tf32": 2**-8, "bf16": 2**-5}
"""The largest error over the largest value, of any output or gradient."""
WRONG_TENSORS_SHOWN = 4
SECONDS = 25
"""Of a rung: two rounds of them fit in the part."""
AT_ONCE = 3

Tensors = dict[str, Tensor]
"""Name -> outputs, or the gradient of a parameter."""


@dataclass(frozen=True)
class Rung:
    """A layer and the sizes of a call."""

    cell: str
    steps: int
    runs: int
    batch: int
    hidden: int

    def __str__(self) -> str:
        sizes = f"T{self.steps}, N{self.runs}, B{self.batch}, H{self.hidden}"
        return f"{self.cell} {sizes}"


USUAL = Rung("lstm", steps=35, runs=3, batch=33, hidden=256)
SMALL = Rung("lstm", steps=5, runs=2, batch=3, hidden=16)
LADDER = (
    Rung("rnn-tanh", steps=1, runs=1, batch=1, hidden=7),  # one block, one time step
    Rung("rnn-tanh", steps=3, runs=2, batch=9, hidden=40),  # a cluster of two, two tiles of rows
    USUAL,  # a cluster of eight
    replace(USUAL, cell="gru-reset-before"),  # two barriers a step
    replace(USUAL, cell="gru-layer-norm"),  # totals of rows go from block to block
    replace(USUAL, cell="nas"),  # a cluster of sixteen in float32
)
"""What engine `persistent` is compared on, the simplest first: where that is wrong, look there."""
SMALL_LADDER = (Rung("rnn-tanh", steps=3, runs=2, batch=3, hidden=7),)


def ladder(small: bool) -> tuple[Rung, ...]:
    """Returns the rungs of a device, or those that try the comparison where there is none."""
    return SMALL_LADDER if small else LADDER


def climbed(command: Sequence[str], count: int) -> bool:
    """Runs a command for each rung, whose number stands behind it; prints what each says, in order.

    Returns:
        Whether all ended with 0 within their seconds.
    """

    def told(number: int) -> tuple[str, bool]:
        words = [*command, str(number)]
        try:
            done = subprocess.run(
                words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS
            )
        except subprocess.TimeoutExpired as error:
            return f"{_text(error.output)}stopped: it did not end in {SECONDS} s", False
        how = f"ended with {done.returncode}"
        return _text(done.stdout) + ("" if done.returncode == 0 else how), done.returncode == 0

    all_well = True
    with ThreadPoolExecutor(min(AT_ONCE, os.cpu_count() or 1)) as pool:
        for text, is_well in pool.map(told, range(count)):
            print(text.rstrip(), flush=True)
            all_well &= is_well
    return all_well


def _text(output: bytes | None) -> str:
    return (output or b"").decode(errors="replace")


def is_the_definitions(
    ours: engine.Engine,
    rung: Rung,
    device: str,
    described: Callable[[Rung, str], str] = lambda rung, precision: "",
) -> bool:
    """Prints how far an engine's update is from `reference`, and returns whether it may be.

    The update is launched, waiting for each direction, and then replayed from a CUDA graph. What
    the engine refuses costs one precision; after an error of the device nothing more can run in
    this process.

    Args:
        ours: The engine.
        rung: What it computes.
        device: Where.
        described: Tells what will be launched, in a precision.
    """
    print(rung, flush=True)
    all_well = True
    for precision, bound in BOUNDS.items():
        sized = rung
        if precision == "float64" and ours.name == "persistent":
            sized = replace(rung, hidden=min(rung.hidden, 128))  # numbers of twice the size
        print(f"{precision}, H = {sized.hidden}: ", end="", flush=True)
        try:
            if text := described(sized, precision):
                print(f"{text}: ", end="", flush=True)
            all_well &= _is_near(ours, sized, precision, bound, device)
        except RuntimeError as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            all_well = False
            if _is_lost(device):
                print("the device's context is lost: this process ends here", flush=True)
                break
    return all_well


def _is_near(ours: engine.Engine, rung: Rung, precision: str, bound: float, device: str) -> bool:
    sizes = dict(steps=rung.steps, runs=rung.runs, batch=rung.batch, hidden=rung.hidden)
    given = case(rung.cell, **sizes, inputs="tokens", scale=0.05).to(precision)
    engine.allow_tf32(precision)
    theirs = update_of(engine.get("reference"), given, "cpu")()
    update = update_of(ours, given, device)
    for make in (launched, replayed) if device == "cuda" else (launched,):
        found = {name: value.cpu() for name, value in make(update, device).items()}
        apart = errors(found, theirs)
        worst = max(apart, key=lambda name: apart[name])
        print(
            f"{make.__name__}, at most {apart[worst]:.1e} ({worst}), allowed {bound:.1e}",
            flush=True,
        )
        if apart[worst] >= bound:
            print("\n".join(wrong_places(found, theirs, bound)), flush=True)
            return False
    return True


def wrong_places(found: Tensors, theirs: Tensors, bound: float) -> list[str]:
    """Returns a line for each tensor that is wrong: how much of it, and where it begins.

    A wrong value's place tells the block (its unit) and the tile (its row of the batch) that made
    it.
    """
    lines = []
    for name, expected in theirs.items():
        got = found[name]
        if got.shape != expected.shape:
            lines.append(f"  {name}: shape {tuple(got.shape)}, not {tuple(expected.shape)}")
            continue
        is_wrong = ~((got - expected).abs() < bound * expected.abs().max())  # a NaN is wrong too
        if is_wrong.any():
            places = is_wrong.nonzero()
            first, last = tuple(places[0].tolist()), tuple(places[-1].tolist())
            lines.append(
                f"  {name} {tuple(got.shape)}: {len(places):,} of {got.numel():,} wrong, "
                f"{int((~got.isfinite()).sum()):,} not finite; first at {first}: "
                f"{got[first].item():.6g}, not {expected[first].item():.6g}; last at {last}"
            )
    return list(itertools.islice(lines, WRONG_TENSORS_SHOWN))


def _is_lost(device: str) -> bool:
    """Returns whether the device answers nothing any more."""
    try:
        torch.zeros(1, device=device).item()
    except RuntimeError:
        return True
    return False


def update_of(which: engine.Engine, given: Case, device: str) -> Callable[..., Tensors]:
    """Returns a function that makes outputs and gradients on the device.

    What it is called with is called after each direction, with that direction's name.
    """
    leaves = {n: v.to(device).requires_grad_() for n, v in given.parameters.items()}
    tokens, state = given.inputs.to(device), tuple(s.to(device) for s in given.state)

    def update(after: Callable[[str], None] = lambda direction: None) -> Tensors:
        outputs, final = which.run(given.layer, leaves, tokens, state)
        after("forward")
        total = (outputs * outputs).sum() + sum(s.sum() for s in final)
        gradients = torch.autograd.grad(total, list(leaves.values()))
        after("backward")
        return {"outputs": outputs.detach(), **dict(zip(leaves, gradients, strict=True))}

    return update


def launched(update: Callable[..., Tensors], device: str) -> Tensors:
    """Returns what an update leaves that is waited for.

    Raises:
        RuntimeError: The device failed; the message begins with the direction.
    """

    def wait(direction: str) -> None:
        if device != "cuda":
            return
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            raise RuntimeError(f"{direction}: {error}") from error

    return update(wait)


def replayed(update: Callable[..., Tensors], device: str) -> Tensors:
    """Returns what an update leaves that is recorded in a CUDA graph and replayed."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            update()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = update()
    for value in made.values():
        value.fill_(torch.nan)  # what is there after the replay, the replay has written
    graph.replay()
    torch.cuda.synchronize()
    return made


def one_kernel(number: int, small: bool, device: str) -> bool:
    """Compares a rung of engine `persistent`; a process of its own calls this."""
    from harness.engine.persistent.persistent import Persistent

    return is_the_definitions(Persistent(), ladder(small)[number], device, _launch)


def _launch(rung: Rung, precision: str) -> str:
    """Returns how engine `persistent` cuts a rung for sm_90, so that a failure tells its shape."""
    import cells
    from harness.engine import Layer
    from harness.engine.persistent.coverage import fitted
    from harness.engine.persistent.source import plan_of

    layer = Layer(cells.find(rung.cell), rung.hidden, 1, precision)
    code = fitted(plan_of(layer), precision, 90)
    tile = code.tiling
    return f"{tile.num_blocks} x {tile.num_threads} threads, {code.shared_bytes:,} bytes"
