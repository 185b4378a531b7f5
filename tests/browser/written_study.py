"""Studies that are written as the driver writes them, without training: long names, a run that
diverged, one that runs still, and a verdict.
"""

import math
from pathlib import Path
from types import SimpleNamespace

import planted
import small_study

from harness import data, study
from harness.report import colors, forms
from harness.report.tables import Section
from harness.runner import live_page, page_texts, publisher
from harness.runner.recorder import End
from harness.store import views
from harness.store.writer import StudyWriter
from harness.study.units import Phase, RunKey, Unit
from harness.tasks.objective import objective_of
from harness.training.messages import RunState

NAMES = [
    f"lstm-with-a-name-that-somebody-wrote-in-earnest-and-{size}-hidden-units"
    for size in range(1, 10)
]
DIVERGED, RUNNING = NAMES[3], NAMES[8]
POINTS = 4
OF_DIFFERENCES = study.load(Path(__file__).parents[2] / "studies" / "memory-copy.yaml")
WIDEST = dict(
    zip(
        views.verdict_columns(objective_of(OF_DIFFERENCES.measure.objective), "test"),
        (
            "not comparable",
            "-0.276 (-0.301–-0.251)",
            "< 0.001",
            "0.4113",
            "10.55×",
            "136,704",
            "9/10",
        ),
        strict=True,
    )
)
"""A row of the first table of a study that compares by differences, as wide as one may be."""


def yaml() -> str:
    arms = "".join(f"    {name}: {{hidden_size: {i + 1}}}\n" for i, name in enumerate(NAMES))
    text = small_study.YAML.format(trials=2, seeds=1, updates=16, runtime="none", pruner="none")
    head, tail = text.split("    narrow:")[0], text[text.index("tune:") :]
    return head.replace("study: small", "study: running") + f"{arms}  baseline: {NAMES[0]}\n" + tail


def write_running(folder: Path) -> str:
    """Writes a study of nine arms that runs, and returns its experiment's id."""
    path = folder / "running.yaml"
    path.write_text(yaml(), encoding="utf-8")
    running = study.load(path)
    writer, ends = _writer(folder, running.name), dict[RunKey, End]()
    page = live_page.LivePage(running, writer, ends)
    for i, name in enumerate(NAMES):
        key = RunKey(Unit(name), Phase.REPLICATE, 0)
        run = writer.open_run(key, f"{name} seed 1000", {}, {**page.tags(key.unit), "seed": "1000"})
        rows = [_point(i, k, name == DIVERGED) for k in range(1, POINTS + 1)]
        for row in rows:
            writer.log(run, row["update"], row, time=1_000_000.0 + row["update"])
        if name == RUNNING:
            continue
        state = RunState.DIVERGED if name == DIVERGED else RunState.FINISHED
        table = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        writer.end_run(run, state, artifacts={"curve.csv": "\n".join(table)})
        ends[key] = End(state, rows[-1]["validation/loss"])
    writer.flush()
    page.begin("9 replicates of 9 arms", Phase.REPLICATE)
    datasets = {"": data.load(running.baseline.settings)}
    reading = SimpleNamespace(read=lambda function: function(writer.reader))
    known = SimpleNamespace(study=running, writer=reading, datasets=datasets)
    live_page.set_views(running, writer, levels=publisher._levels(known))
    writer.close()
    return writer.experiment_id


def _point(arm: int, index: int, diverges: bool) -> dict[str, float]:
    loss = 2.5 - 0.2 * index + 0.01 * arm + 4.0 * index * diverges
    return {
        "update": index * 4,
        "time_seconds": index * 0.5,
        "seconds": index * 0.5,
        "train/loss": loss,
        "validation/loss": loss,
        "validation/perplexity": math.exp(loss),
    }


def write_answered(folder: Path) -> str:
    """Writes what is shown of nine arms that have ended, and returns the experiment's id."""
    rows = [
        row
        for i, name in enumerate(NAMES)
        for row in planted.run_rows(name, planted.BASE + 0.02 * i + 0.02 * (i > 0) * planted.UNIT)
    ]
    report = planted.build(planted.study(*NAMES, name="answered"), rows)
    writer = _writer(folder, "answered")
    shades = colors.by_arm(NAMES, NAMES[0])
    for result in report.results:
        tags = page_texts.cells(result, "test") | {views.COLOR_TAG: shades[result.name]}
        level = {"test_perplexity": result.objective.level(result.mean)}
        run = writer.summarize_arm(Unit(result.name), level, tags=tags)
    links = page_texts.links(writer.experiment_id, list(page_texts.LINKS), run)
    writer.describe(page_texts.description(report, links))
    live_page.set_views(study.load(folder / "running.yaml"), writer)
    writer.close()
    return writer.experiment_id


def write_widest(folder: Path) -> str:
    """Writes a description whose table has as many characters as a narrow page holds, in as many
    columns as a verdict's, and the widest row of a first table; returns the experiment's id.
    """
    header = (
        "Arm",
        "Verdict",
        "Perplexity (test), 95 %",
        "Ratio (95 %)",
        "p (Holm)",
        "Seeds ended",
    )
    row = ("", "no difference shown", "118.4 (118.0 to 118.8)", "1.060 (0.946 to 1.187)", "0.0016")
    taken = sum(max(map(len, pair)) for pair in zip(header[1:5], row[1:], strict=True))
    room = forms.NARROW - taken - len(header[5]) - 5 * forms.NARROW_GAP
    name = f"lstm-{'h' * (room - 5)}"
    table = forms.narrow_markdown(Section("", header, [(name, *row[1:], "8 of 8")]))
    assert table.startswith("|")
    writer = _writer(folder, "widest")
    writer.summarize_arm(Unit("lstm"), {}, tags=WIDEST)
    live_page.set_views(OF_DIFFERENCES, writer)
    writer.describe(f"Compared with nothing\n\n{table}\n")
    writer.close()
    return writer.experiment_id


def _writer(folder: Path, name: str) -> StudyWriter:
    return StudyWriter(f"sqlite:///{folder}/mlflow.db", name, folder / "artifacts")
