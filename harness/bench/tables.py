"""The bench as text: a table a shape and mode, the targets, and what was inside the clock."""

import textwrap
from collections.abc import Container, Sequence

from harness.bench.judge import MOST_DISTURBED, Estimate, Results, Row, estimate
from harness.bench.record import MODES, Bench

WIDTH = 80
"""Characters of a terminal's line."""
HEADER = (
    "cell",
    "class",
    "run by",
    "pack",
    "ms",
    "95 %",
    "updates/s",
    "tokens/s",
    "GFLOP/s",
    "peak",
    "x LSTM",
    "scaled",
    "x loop",
    "targets",
)
LEFT = {"cell", "class", "run by", "targets"}
TITLES = {"train": "One whole training update", "forward": "Forward only"}


def text(bench: Bench) -> str:
    """Returns the whole bench as text, as wide as it needs."""
    parts = [machine(bench.made), disturbance(bench)]
    for shape in bench.shapes:
        for mode in MODES:
            results = Results(bench, shape, mode)
            parts.append(f"{TITLES[mode]}: {shape}\n{table(results)}")
            if mode == "train":
                parts.append(verdicts(results))
        parts.append(peaks(Results(bench, shape, "train")))
    return "\n\n".join([*filter(None, parts), legend(bench), *bench.notes]).rstrip() + "\n"


def machine(facts: dict[str, str]) -> str:
    """Returns where, when and of what a bench was made."""
    changed = " with changes" if facts["git_dirty"] == "true" else ""
    device = f"{facts['cores']} cores of {facts['processor']}"
    if facts["device"] != "cpu":
        device = facts["device_name"]
    versions = ", ".join(
        f"{name.removeprefix('version_')} {version}"
        for name, version in facts.items()
        if name.startswith("version_")
    )
    when = f"{facts['date']}, commit {facts['git_commit'][:12]}{changed}"
    rounds = f"rounds {facts['rounds']}, repeats of {facts['seconds']} s or more"
    return (
        f"{facts['command']}\n"
        f"{when}, {device}, {facts['precision']}, threads {facts['threads']}, {rounds},"
        f" load average {facts['load_average']}\n"
        f"{versions}, {facts['system']}"
    )


def table(results: Results) -> str:
    """Returns the rows of a shape and mode, and a line for every subject that failed."""
    header = HEADER if results.mode == "train" else HEADER[:-1]
    lines = [cells[: len(header)] for cells in rows(results)]
    return "\n".join([aligned([header, *lines], LEFT), *failures(results)])


def rows(results: Results) -> list[tuple[str, ...]]:
    """Returns the rows of a shape and mode as texts, a column for each name of HEADER."""
    return [_cells(results, row) for row in results.rows()]


def failures(results: Results) -> list[str]:
    """Returns a line for every subject that failed."""
    return [f"{s.cell}, {s.name}, pack {s.pack}: {s.problem}" for s in results.series if s.problem]


def aligned(lines: Sequence[Sequence[str]], columns_left: Container[str]) -> str:
    """Returns lines as a table; the first is the header, and a rule lies below it."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = [name in columns_left for name in lines[0]]
    texts = [
        "  ".join(
            c.ljust(w) if is_left else c.rjust(w)
            for c, w, is_left in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([texts[0], "-" * max(map(len, texts)), *texts[1:]])


def wrapped(paragraphs: str) -> str:
    """Returns paragraphs of lines of at most WIDTH characters."""
    lines = paragraphs.splitlines()
    return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in lines)


def _cells(results: Results, row: Row) -> tuple[str, ...]:
    series, milliseconds = row.series, row.seconds.times(1e3)
    return (
        series.cell,
        series.cell_class,
        series.name,
        str(series.pack),
        f"{milliseconds.median:.3g}",
        _interval(milliseconds),
        _count(row.updates_per_second),
        _count(row.tokens_per_second),
        f"{row.gflops:.3g}",
        "" if row.share is None else f"{100 * row.share.median:.0f} %",
        _ratio(row.peer),
        _ratio(row.scaled) + (" GRU" if row.scaled and series.cell_class == "b" else ""),
        _ratio(row.loop),
        _targets(results, row),
    )


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _interval(value: Estimate) -> str:
    return "" if value.low is None else f"{value.low:.3g}-{value.high:.3g}"


def _ratio(value: Estimate | None) -> str:
    if value is None:
        return ""
    return f"{value.median:.2f}" + (
        "" if value.low is None else f" ({value.low:.2f}-{value.high:.2f})"
    )


def _targets(results: Results, row: Row) -> str:
    targets = results.targets(row)
    missed = [f"{target.text}: {target.attained:.2f}" for target in targets if not target.is_met]
    if missed:
        return f"missed: {'; '.join(missed)}"
    return "met" if targets else ""


def verdicts(results: Results) -> str:
    """Returns a line for each engine that a target is set for; nothing where none can be judged."""
    if results.disturbed() > MOST_DISTURBED:
        return (
            f"No target is judged: other processes disturbed {100 * results.disturbed():.0f} % of"
            " these repeats."
        )
    engines = dict.fromkeys(s.name for s in results.series if s.kind == "engine")
    return "\n".join(filter(None, map(results.overall, engines)))


def peaks(results: Results) -> str:
    """Returns what the machine reached, the highest form and size first."""
    best = results.peak
    if best is None:
        return ""
    each = ", ".join(f"{value:.4g}" for value in best.gflops)
    others = [
        p
        for p in results.bench.peaks
        if p.shape == results.shape.name and p is not best and p.gflops
    ]
    less = "; ".join(f"{p}: {estimate(p.gflops).median:.4g}" for p in others)
    return (
        f"Peak of the machine: {estimate(best.gflops).median:.4g} GFLOP/s, {best}"
        f" (by round: {each}). Others: {less}."
    )


def legend(bench: Bench) -> str:
    """Returns what is inside the clock, what is not, and what the columns say."""
    on_cpu, threads = bench.made["device"] == "cpu", bench.made["threads"]
    spread, where = "the pack is one computation", "one run at a time"
    if on_cpu:
        spread = f"a run is on one thread, the pack on {threads}"
        where = f"one run at a time on {threads} threads"
    dtype = torch_dtype(bench.made["precision"], on_cpu)
    return f"""\
Inside the clock (wall time, the device synchronised at both ends):
  engines   whole updates as `harness run` trains them: the minibatch's gather, row lookup, all time
            steps, read-out, cross-entropy, gradients, clip of the global norm, SGD, the sums of
            loss and norm;
            {spread}
  nn.*      torch.nn in {dtype}, two biases, nn.Linear on all T*B rows, cross_entropy, backward,
            clip_grad_norm_, SGD;
            one-hot: the rows are made inside, prebuilt: before; embedding: nn.Embedding(V, H) and
            a layer of H inputs, other arithmetic than the cell's V x G*H table: a V x H table and
            an H x G*H product;
            {where}, a pack of N is N of them in sequence
  loop      as the sources publish it: one-hot rows inside; each time step multiplies rows and state
            for every gate, and the read-out; loss, backward, clip and SGD as nn.*; one run on all
            threads, whatever the pack beside it
  forward   the same without gradient, clip and SGD, with the loss; always the first minibatch from
            the start
Outside: text, weights, compiling, warm-up, one update before each repeat; of nn.* and loop the
gather of minibatches.
Tokens are random; the state is carried, detached, over the 8 minibatches of an epoch, and starts
again with the next.

ms         of a run-update: the pack's wall time over its runs; median, and its 95 % order-statistic
           interval
tokens/s   of all runs of the pack together
GFLOP/s    of products alone, an update as 3 forward passes; a lookup counts none, for nn.* and loop
           neither
peak       GFLOP/s over those that the machine reaches at its best, which is named below the
           table; median of ratios paired by round
x LSTM     run-updates/s over those of nn.LSTM one-hot at the same pack; median of ratios paired by
           round
scaled     x LSTM (class b: x GRU) times the operations of the cell's own products per token over
           the peer's
x loop     run-updates/s over those of the cell's published loop
class      a: pointwise after one round of products; ar: with a reduction over H; b: products that
           wait for others; e: no products; c: none, and linear in the state
targets    for training on a CPU by the engine that `auto` takes, if it is a generated one. At the
           largest pack, class a: the smaller of 1.3 x nn.LSTM scaled and 70 % of peak, in the
           median over cells, and 0.8 of that for each; class a of one or two gates: 2 x nn.RNN;
           class b: 1 x nn.GRU scaled; all: 4 x their loop; lstm from V = 1000 on: 2 x nn.LSTM in
           both forms. At a pack of 1, class a: 0.8 x nn.LSTM scaled"""


def torch_dtype(precision: str, on_cpu: bool) -> str:
    """Returns what torch.nn and the loop compute in: the engines' precision, where torch has it."""
    if precision == "float64" or on_cpu:
        return precision if precision == "float64" else "float32"
    return {"bf16": "bfloat16 throughout", "tf32": "float32 with tf32 products"}.get(
        precision, "float32"
    )


def disturbance(bench: Bench) -> str:
    """Returns how often other processes disturbed; nothing where they did not."""
    flags = [busy for series in bench.series for busy in series.busy]
    return disturbance_of(sum(flags), len(flags))


def disturbance_of(num_disturbed: int, num_repeats: int) -> str:
    """Returns the same of so many repeats."""
    if not num_disturbed:
        return ""
    return (
        f"Warning: other processes kept the processor busy in {num_disturbed} of {num_repeats}"
        " repeats."
        " Where they are many, measure again on a quiet machine."
    )
