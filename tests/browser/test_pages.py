"""What a person sees, in a real browser: a study's page in MLflow, its charts, two runs compared,
the report.

One small study is run for all of it, and served as `harness ui` serves it. Nothing outside this
machine can be reached.
"""

import io
import json
import re
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import small_study
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console

import harness
from harness import study
from harness.report import Report
from harness.store import views
from harness.store.reader import StudyReader

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    *(
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
    ),
    *(
        "--disable-component-update",
        "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ),
)
LOAD_MS = 60_000
METRIC = "validation/perplexity"
SEEDS, UPDATES = 3, 16
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    """The report of a study that has really been run."""
    runtime = "{rounds: 2, seconds: 0.01}"
    path = small_study.write(folder, trials=2, seeds=SEEDS, updates=UPDATES, runtime=runtime)
    return harness.run(path, folder, force=True, console=Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def server(folder: Path, report: Report) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "harness.cli", "ui", "small", "--folder", str(folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(harness.__file__).parents[1]
    ) as process:
        yield process
        for child in [*psutil.Process(process.pid).children(recursive=True), process]:
            child.kill()  # that it ends in order is tested elsewhere, and takes seconds


@pytest.fixture(scope="module")
def browser(server: subprocess.Popen[str]) -> Iterator[Browser]:
    """Starts, and shows the report, while MLflow's server starts."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(server: subprocess.Popen[str]) -> str:
    """What `harness ui` says."""
    assert server.stdout is not None
    said = server.stdout.readline()
    assert said.startswith("MLflow: http://127.0.0.1:"), said
    return said.split()[1]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window that is wide enough for all columns: the table draws no others."""
    page = browser.new_page(viewport={"width": 3200, "height": 1000})
    page.set_default_timeout(LOAD_MS)
    # MLflow's assistant opens itself on the first visit, over a part of the page.
    page.add_init_script(
        "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
    )
    yield page
    page.close()


def test_the_report_shows_its_figures_without_a_network_or_an_error(folder, page):
    errors, asked = [], []
    page.on(
        "console", lambda message: errors.append(message.text) if message.type == "error" else None
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    path = next((folder / "artifacts").rglob("report.html"))
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(path.as_uri())
    figures = page.locator("figure svg")
    assert figures.count() >= 2
    for figure in figures.all():
        box = figure.bounding_box()
        assert box is not None and min(box["width"], box["height"]) > 100
        assert figure.locator("path").count() > 10
    for width in (1280, 390):  # a phone's
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (errors, asked) == ([], [path.as_uri()])


def test_the_address_that_is_said_shows_verdict_arms_and_columns(folder, report, address, page):
    page.goto(address)
    wide = page.locator(".ag-row[row-id='tag.arm.wide']")
    wide.first.wait_for()
    assert page.get_by_text(report.note().splitlines()[0].strip("*"), exact=True).is_visible()
    rows = (
        "rows => rows.sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)"
        ".map(row => row.getAttribute('row-id'))"
    )
    by_perplexity = report.table.sort_values("perplexity")
    shown = page.locator(".ag-pinned-left-cols-container .ag-row").evaluate_all(rows)
    assert shown == [f"tag.arm.{arm}" for arm in by_perplexity["arm"]]
    cells = (
        "cells => cells.sort((a, b) => a.ariaColIndex - b.ariaColIndex)"
        ".map(cell => cell.getAttribute('col-id'))"
    )
    chosen = answer(folder, report).state["selectedColumns"]
    of_groups = [name for name in chosen if name.startswith("metrics.")]
    assert [
        name for name in page.locator(".ag-header-cell").evaluate_all(cells) if name in chosen
    ] == chosen
    for name in of_groups:
        assert re.fullmatch(r"[\d.e-]+ \(average\)", cell(wide, name)), name
    ratio = report.table.set_index("arm")["ratio"]["wide"]
    assert float(cell(wide, "metrics.`arm/ratio`").split()[0]) == pytest.approx(ratio, rel=1e-5)
    wide.locator("[role=button]").first.click()
    for seed in range(1000, 1000 + SEEDS):
        page.get_by_text(f"wide seed {seed}", exact=True).wait_for()


def cell(row: Any, name: str) -> str:
    return row.locator(f'[col-id="{name}"]').inner_text()


def answer(folder: Path, report: Report) -> views.View:
    small = study.load(folder / "small.yaml")
    return views.of_study(
        small.units,
        small.measure.objective,
        tuned=small.tune.space,
        num_seeds=1,
        is_timed=True,
        split="test",
        known=report.table.columns[report.table.notna().any()],
    )[0]


def test_the_charts_draw_the_mean_of_every_arm(address, page):
    page.set_viewport_size({"width": 1400, "height": 1400})
    page.goto(f"{address}&compareRunsMode=CHART")
    page.get_by_text("wide (validation/perplexity)").wait_for()
    page.get_by_text("narrow (validation/perplexity)").wait_for()
    curve, test, *scatters = plots(page, 4)
    lines = {tuple(trace["y"]): trace["x"] for trace in curve if "lines" in (trace["mode"] or "")}
    points = [UPDATES * k // 4 for k in range(1, 5)]
    assert len(lines) == 2 and list(lines.values()) == [points, points]
    assert (
        sum(trace["fill"] == "tozeroy" for trace in curve) == 2
    )  # the band from the worst seed to the best
    assert [len(trace["x"]) for trace in test] == [2]
    assert [len(trace["x"]) for scatter in scatters for trace in scatter] == [2, 2]


def plots(page: Page, count: int) -> list[list[dict[str, Any]]]:
    """Returns the traces of the first plots, once all of them are drawn."""
    drawn = (
        "count => [...document.querySelectorAll('.js-plotly-plot')]"
        ".filter(plot => plot.data).length >= count"
    )
    page.wait_for_function(drawn, arg=count)
    names = ("name", "mode", "fill", "x", "y")
    data = (
        "(plots, names) => plots.map(p => p.data.map("
        "t => Object.fromEntries(names.map(n => [n, t[n] ?? null]))))"
    )
    return page.locator(".js-plotly-plot").evaluate_all(data, names)[:count]


def test_the_comparison_of_two_runs_draws_both_curves(folder, address, page):
    runs = StudyReader(f"sqlite:///{folder}/mlflow.db", "small").runs()
    pair = runs[(runs["phase"] == "replicate") & (runs["index"] == 0)]
    experiment = address.split("/experiments/")[1].split("/")[0]
    asked = {
        "runs": list(pair["run_id"]),
        "experiments": [experiment],
        "metric": METRIC,
        "plot_metric_keys": [METRIC],
    }
    query = urllib.parse.urlencode({name: json.dumps(value) for name, value in asked.items()})
    page.goto(f"{address.partition('#')[0]}#/metric?{query}")
    page.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for()
    (curves,) = plots(page, 1)
    assert {trace["name"] for trace in curves} == {"narrow seed 1000", "wide seed 1000"}
    assert len({tuple(trace["y"]) for trace in curves}) == 2
    assert all(len(trace["y"]) >= 4 for trace in curves)
