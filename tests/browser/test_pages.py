"""What a person sees, in a real browser: every way into MLflow's pages, a study's views and the
colours of its arms, two runs compared, the report.

One small study is run for most of it, two are written without training, and all are served as
`harness ui` serves them. Nothing outside this machine can be reached.
"""

import io
import json
import math
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import small_study
import written_study
from drawn import LOAD_MS, WHOLE, WORDS, experiment_of, page_of, pixels, plots, rgb, soon, titles
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console

import harness
from harness.report import Report
from harness.report.colors import by_arm
from harness.runner import page_texts
from harness.store import server as ui
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
UI = "from harness.store import server; server.IDLE_SECONDS = 600.0; from harness import cli; "
UI += "cli.main()"
"""`harness`, which waits for MLflow's server as long as a machine may need that others use."""
UNFOLD = "mlflow.experiment.metadata_editor.expand_button"
"""What MLflow calls the arrow that unfolds a description."""
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
def written(folder: Path, report: Report) -> dict[str, str]:
    """The ids of the experiments of a study that runs, and of one of long names with a verdict."""
    return {
        "running": written_study.write_running(folder),
        "answered": written_study.write_answered(folder),
        "widest": written_study.write_widest(folder),
    }


@pytest.fixture(scope="module")
def server(folder: Path, written: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", UI, "ui", "small", "--folder", str(folder)]
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
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=list(FLAGS), timeout=LOAD_MS
        )
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
    """A window of a person who was never here before, as wide as a small screen."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.context.set_default_timeout(LOAD_MS)
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


def test_every_way_in_lands_in_model_training_without_the_assistant(folder, address, page):
    start = address.partition("#")[0]
    experiment = experiment_of(address)
    runs = StudyReader(f"sqlite:///{folder}/mlflow.db", "small")
    arm = next(run.run_id for run in runs.search() if run.tags["phase"] == "arm")
    replicate = next(run.run_id for run in runs.search() if run.tags["phase"] == "replicate")
    of_experiment = f"#/experiments/{experiment}"
    of_runs = [f"{of_experiment}/runs/{run}" for run in (arm, replicate)]
    without_a_name = ui.STUDIES.removeprefix("/")
    for way in ("", "#/experiments", without_a_name, *of_runs, of_experiment):
        page.goto("about:blank")
        page.goto(start + way)
        # The side bar names the registry where training is looked at, and nowhere else.
        page.get_by_role("link", name="Model registry").wait_for()
        page.get_by_text("small", exact=True).first.wait_for()
        assert page.get_by_text("Ask questions about your experiments").count() == 0, way
        assert "/traces" not in page.url, way
    page.wait_for_url(lambda url: f"/experiments/{experiment}/runs" in url)


def test_home_shows_studies_on_its_first_screen_and_no_notes_of_the_bench(address, page):
    page.goto(address.partition("#")[0])
    page.get_by_text("small", exact=True).first.wait_for()

    def shows():
        box = page.get_by_text("Recent Experiments").first.bounding_box()
        assert box is not None and box["y"] < 300

    soon(shows)
    assert page.get_by_text("UI telemetry").count() == 0
    assert page.get_by_text("harness.").count() == 0


def test_a_phone_draws_a_whole_page_to_zoom_into(browser, address):
    page = browser.new_page(viewport={"width": 390, "height": 844}, is_mobile=True)
    page.set_default_timeout(LOAD_MS)
    page.goto(address)
    page.locator(".ag-row").first.wait_for()
    assert page.evaluate("document.documentElement.clientWidth") == 1280
    page.close()


def test_the_address_that_is_said_shows_the_verdict_and_the_first_table_whole(
    report, address, page
):
    page.goto(address)
    first = page.get_by_text("Compared with narrow").first
    first.wait_for()
    page.locator(".ag-row").nth(1).wait_for()
    results = {result.name: result for result in report.results}
    by_perplexity = report.table.sort_values("perplexity")

    def shows():
        note = first.evaluate("e => e.getBoundingClientRect().height")
        assert note < 30, "the verdict takes one line"
        order = page.locator("[col-id='attributes.`Run Name`'] a").all_inner_texts()
        assert [name for name in order if name in results] == list(by_perplexity["arm"])
        for arm, result in results.items():
            row = page.locator(".ag-row", has=page.get_by_text(arm, exact=True)).last
            index = row.get_attribute("row-index")
            for column, text in page_texts.cells(result, "test").items():
                cell = page.locator(f".ag-row[row-index='{index}'] [col-id='tags.`{column}`']")
                assert cell.inner_text().strip() == (text or "-"), column
                assert cell.evaluate(WHOLE), f"{column} of {arm} is cut at 1,280 pixels"
            trials = page.locator(f".ag-row[row-index='{index}'] [col-id='tags.`trials`']")
            assert trials.inner_text().strip() == "2/2" and trials.evaluate(WHOLE)
        table = page.locator(".ag-center-cols-viewport").first
        last = page.locator(".ag-header-cell[col-id='tags.`trials`']")
        edges = [part.evaluate("e => e.getBoundingClientRect().right") for part in (last, table)]
        assert edges[0] <= edges[1] + 1, "the last column ends within the table"

    soon(shows)


def test_the_widest_row_of_differences_is_cut_nowhere(written, address, page):
    page.goto(page_of(address, written["widest"], views.ANSWER))
    page.locator(".ag-row").first.wait_for()

    def shows():
        for column, text in written_study.WIDEST.items():
            cell = page.locator(f".ag-row [col-id='tags.`{column}`']").last
            assert cell.inner_text().strip() == text and cell.evaluate(WHOLE), column

    soon(shows)


def test_the_answer_of_nine_long_names_takes_one_line(written, address, page):
    page.goto(page_of(address, written["answered"], views.ANSWER))
    line = page.get_by_text("Compared with lstm-with-").first
    costs = page.get_by_role("link", name="costs", exact=True)

    def shows():
        assert line.evaluate("e => e.getBoundingClientRect().height") < 30
        box = costs.bounding_box()
        assert box is not None and box["x"] + box["width"] < 1180, "before the sign that unfolds it"

    soon(shows)


@pytest.mark.parametrize(
    ("study", "shown"),
    [("widest", "table:has-text('Arm')"), ("answered", "ul:has-text('Verdict: ')")],
)
def test_no_word_of_an_unfolded_description_is_broken(study, shown, written, address, page):
    page.goto(page_of(address, written[study], views.ANSWER))
    page.locator(f"[data-component-id='{UNFOLD}']").click()

    def shows():
        words = page.locator(shown).last.evaluate(WORDS)
        assert len(words) > 10
        assert [word for word, num_lines in words if num_lines != 1] == []

    soon(shows)


def test_a_study_that_runs_says_how_far_it_is(written, address, page):
    page.goto(page_of(address, written["running"], views.ANSWER))
    line = page.get_by_text("Running: 9 replicates of 9 arms").first

    def shows():
        assert line.evaluate("e => e.getBoundingClientRect().height") < 30
        seeds = page.locator(".ag-row [col-id='tags.`n`']").all_inner_texts()
        assert sorted(text.strip() for text in seeds) == ["0/1"] + ["1/1"] * 8

    soon(shows)


def test_a_diverged_seed_leaves_the_other_curves_their_room(written, address, page):
    page.goto(page_of(address, written["running"], views.CURVES))

    def shows():
        curves, _ = plots(page, 2)
        lines = {trace["name"]: trace for trace in curves if trace["x"]}
        assert len(lines) == 9 and len({str(line["colors"]) for line in lines.values()}) == 9
        axis = "p => [p._fullLayout.yaxis.type, p._fullLayout.yaxis.range]"
        kind, (low, high) = page.locator(".js-plotly-plot").first.evaluate(axis)
        assert kind == "log"
        diverged = lines.pop(f"{written_study.DIVERGED} seed 1000")
        assert math.log10(max(diverged["y"])) > high + 1
        levels = [math.log10(y) for line in lines.values() for y in line["y"]]
        assert low <= min(levels) and max(levels) <= high
        assert max(levels) - min(levels) > (high - low) / 4

    soon(shows)


def test_costs_are_numbers_that_are_sorted_by(report, address, page):
    page.goto(page_of(address, experiment_of(address), views.COSTS))
    column = ".ag-row [col-id='metrics.`arm/num_parameters`']"
    page.locator(column).nth(1).wait_for()

    def numbers(cells):
        return [float(text.replace(",", "")) for text in page.locator(cells).all_inner_texts()]

    def shows():
        assert sorted(numbers(column)) == sorted(each.num_parameters for each in report.results)
        speeds = numbers(".ag-row [col-id='metrics.`arm/train_pack_1_tokens_per_second`']")
        assert all(speed > 0 for speed in speeds)

    soon(shows)


def test_the_first_screen_links_to_the_report(address, page):
    page.goto(address)
    link = page.get_by_role("link", name="report", exact=True)
    with page.expect_popup() as opened:
        link.click()
    frame = opened.value.frame_locator("iframe").first
    frame.get_by_text("Does width matter on a small text?").first.wait_for()
    opened.value.close()


def test_an_arm_has_its_own_colour_in_every_chart(address, page):
    colors = by_arm(["narrow", "wide"], "narrow")
    start = address.replace("viewStateShareKey=answer", "viewStateShareKey={}")
    points = [UPDATES * k // 4 for k in range(1, 5)]

    def shows_answer():
        bars, *scatters = plots(page, 3)
        assert titles(page) == [
            "test perplexity",
            "parameters vs. test perplexity",
            "tokens per second vs. test perplexity",
        ]
        assert {color for trace in bars for color in trace["colors"]} == set(colors.values())
        assert [len(trace["x"]) for scatter in scatters for trace in scatter] == [2, 2]
        drawn = page.locator(".js-plotly-plot").first
        drawn.locator(".bars .point").nth(1).wait_for()
        assert pixels(drawn.screenshot()) >= {rgb(color) for color in colors.values()}

    def shows_curves():
        seen = plots(page, 2)
        assert titles(page) == ["validation/perplexity", "validation perplexity over updates"]
        for curve in seen:
            lines = {trace["name"]: trace["colors"] for trace in curve if trace["x"]}
            assert len(lines) == 2 * SEEDS
            assert all(line == [colors[name.split()[0]]] for name, line in lines.items())
        seconds, updates = seen
        assert all(sorted(set(trace["x"])) == points for trace in updates if trace["x"])
        assert all(0 < x < 3600 and x not in points for trace in seconds for x in trace["x"])

    def shows_trials():
        (trials,) = plots(page, 1)
        assert titles(page) == ["log10 of learning_rate vs. loss"]
        xs = [x for trace in trials for x in trace["x"]]
        assert len(xs) == 4 and all(-2.4 < x <= -1.0 for x in xs), "the logarithms of 0.005 to 0.1"
        assert {color for trace in trials for color in trace["colors"]} == set(colors.values())

    for key, shows in (
        ("answer", shows_answer),
        ("curves", shows_curves),
        ("trials", shows_trials),
    ):
        page.goto("about:blank")
        page.goto(start.format(key) + "&compareRunsMode=CHART")
        soon(shows)


def test_the_comparison_of_two_runs_draws_both_curves(folder, address, page):
    runs = StudyReader(f"sqlite:///{folder}/mlflow.db", "small").runs()
    pair = runs[(runs["phase"] == "replicate") & (runs["index"] == 0)]
    experiment = experiment_of(address)
    asked = {
        "runs": list(pair["run_id"]),
        "experiments": [experiment],
        "metric": METRIC,
        "plot_metric_keys": [METRIC],
    }
    query = urllib.parse.urlencode({name: json.dumps(value) for name, value in asked.items()})
    page.goto(f"{address.partition('#')[0]}#/metric?{query}")
    page.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for()

    def shows():
        (curves,) = plots(page, 1)
        assert {trace["name"] for trace in curves} == {"narrow seed 1000", "wide seed 1000"}
        assert len({tuple(trace["y"]) for trace in curves}) == 2
        assert all(len(trace["y"]) >= 4 for trace in curves)

    soon(shows)
