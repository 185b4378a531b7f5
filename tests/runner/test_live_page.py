"""What a study's page says while the study is trained."""

import math
from types import SimpleNamespace

import pytest
import small_study

from harness import study
from harness.report import colors
from harness.runner import live_page
from harness.runner.live_page import LivePage
from harness.runner.recorder import End
from harness.study.model import Choices, Range
from harness.study.units import Phase, RunKey, Unit
from harness.training.messages import RunState


class Writer:
    """Keeps what the page was told."""

    experiment_id = "7"

    def __init__(self):
        self.notes, self.views, self.tags = [], {}, {}

    def show_arm(self, unit, tags):
        self.tags[str(unit)] = {**self.tags.get(str(unit), {}), **tags}

    def set_view(self, view):
        self.views[view.key] = view

    def describe(self, note):
        self.notes.append(note)


@pytest.fixture
def small(tmp_path):
    return study.load(small_study.write(tmp_path, trials=4, seeds=3))


@pytest.fixture
def told(small, monkeypatch):
    """A page, its writer, the ends that it looks at, and a clock that stands still."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(live_page.time, "monotonic", lambda: clock.now)
    writer, ends = Writer(), {}
    return LivePage(small, writer, ends), writer, ends, clock


def end(ends, key):
    ends[RunKey.parse(key)] = End(RunState.FINISHED, 1.0)


def ended(writer, arm):
    return writer.tags[arm]["trials"], writer.tags[arm]["n"]


def test_a_page_is_ready_before_the_first_run_has_ended(told):
    page, writer, _, _ = told
    page.begin("8 trials of 2 arms", Phase.TRIAL)
    assert list(writer.views) == ["answer", "curves", "trials", "costs"]
    assert writer.tags == {
        "narrow": {"mlflow.runColor": "#000000", "trials": "0/4", "n": "0/3"},
        "wide": {"mlflow.runColor": colors.COLORS[1], "trials": "0/4", "n": "0/3"},
    }
    first, *_, row = writer.notes[-1].splitlines()
    assert first.startswith("Running: 8 trials of 2 arms, ")
    assert "[curves](#/experiments/7/runs?workflowType=machine_learning" in first
    assert row == "| wide&emsp; | 0/4&emsp; | 0/3&emsp; |"


def test_what_has_ended_is_told_but_not_with_every_run(told):
    page, writer, ends, clock = told
    with pytest.raises(KeyboardInterrupt), page.training("8 trials of 2 arms", Phase.TRIAL):
        stopped_while_it_trains(page, writer, ends, clock)
    assert writer.notes[-1].startswith("Stopped: 8 trials of 2 arms, ")
    assert ended(writer, "wide") == ("6/6", "0/3")


def test_what_is_interrupted_as_it_begins_is_said_to_have_stopped(told, monkeypatch):
    page, writer, *_ = told
    say, notes = writer.describe, writer.notes

    def interrupted(text):
        say(text)
        if len(notes) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(writer, "describe", interrupted)
    with pytest.raises(KeyboardInterrupt), page.training("8 trials of 2 arms", Phase.TRIAL):
        pytest.fail("it goes on")
    assert [note.partition(":")[0] for note in notes] == ["Running", "Stopped"]


def stopped_while_it_trains(page, writer, ends, clock):
    for key in ("wide/trial/0", "wide/trial/1", "narrow/replicate/0"):
        end(ends, key)
    page.tell()
    assert len(writer.notes) == 1
    clock.now += live_page.TELL_SECONDS + 0.1
    page.tell()
    assert ended(writer, "wide") == ("2/4", "0/3")
    assert ended(writer, "narrow") == ("0/4", "1/3")
    for index in range(2, 6):
        end(ends, f"wide/trial/{index}")
    raise KeyboardInterrupt


def test_curves_are_of_trials_until_a_replicate_begins(told):
    page, writer, ends, _ = told

    def drawn():
        return writer.views["curves"].state["searchFilter"]

    page.begin("8 trials of 2 arms", Phase.TRIAL)
    assert drawn() == "tags.phase = 'trial'"
    page.begin("6 replicates of 2 arms", Phase.REPLICATE)
    assert drawn() == "tags.phase = 'replicate'"
    end(ends, "narrow/replicate/0")
    page.begin("2 trials of 1 arm", Phase.TRIAL)  # a search that is extended
    assert drawn() == "tags.phase = 'replicate'"


def test_what_is_searched_by_its_logarithm_is_shown_by_it(told, small):
    page = told[0]
    settings = study_settings(small, learning_rate=0.01)
    assert page.shown(settings) == {"trial/log10_learning_rate": pytest.approx(math.log10(0.01))}


def study_settings(small, **values):
    return SimpleNamespace(**{**vars(small.baseline.settings), **values})


def test_a_unit_of_a_repeat_counts_for_its_arm(told):
    page, writer, ends, _ = told
    ends[RunKey(Unit("wide", repeat=1), RunKey.parse("wide/trial/0").phase, 0)] = End(
        RunState.FINISHED, 1.0
    )
    page.begin("trials", Phase.TRIAL)
    assert ended(writer, "wide")[0] == "1/4"


def test_a_list_of_values_is_drawn_by_its_logarithm_where_it_spans_a_power_of_ten():
    by_logarithm = [Range(0.1, 10.0, log=True), Choices((0.008, 0.032, 0.128))]
    by_value = [Range(0.1, 10.0), Choices((0.2, 0.5)), Choices((None, 1.0, 100.0)), Choices((0, 9))]
    by_value += [Choices(("sgd", "adam")), Choices((False, True))]
    assert [live_page._is_logarithmic(domain) for domain in by_logarithm] == [True, True]
    assert not any(live_page._is_logarithmic(domain) for domain in by_value)
