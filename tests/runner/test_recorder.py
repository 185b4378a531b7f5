"""What is noted of a run, at its start or later, is said once and stays in the books."""

from types import SimpleNamespace

import pandas as pd

from harness.runner.recorder import TAGS, Books, Entry
from harness.settings import Settings
from harness.training.messages import Record


class Tracker:
    """Keeps the tags that it was given last."""

    def __init__(self):
        self.tags = {}

    def runs(self):
        return pd.DataFrame({"arm": [], "phase": [], "index": [], "state": [], "objective": []})

    def open(self, arm, phase, index, name, params, tags):
        self.tags |= tags
        return "id"

    def end(self, run_id, state, tags, metrics, artifacts, samples):
        self.tags |= tags

    def dataset(self, *_):
        pass

    log = dataset


def records(*noted):
    """Yields a start, an evaluation for each of the others, and an end; each but the last with its
    notes.
    """
    numbers = ("num_parameters", "num_states", "flops_per_token", "num_updates", "hidden_size")
    info = dict.fromkeys((*TAGS, *numbers), 1) | {
        "corpus_fingerprint": "f",
        "git_commit": "c",
        "notes": noted[0],
    }
    metrics = {
        "seconds": 1.0,
        "tokens_per_second": 1.0,
        "validation/perplexity": 2.0,
        "validation/loss": 0.7,
    }
    yield Record("lstm/trial/0", "start", 0, 0.0, {}, info)
    for update, notes in enumerate(noted[1:], 1):
        yield Record(
            "lstm/trial/0", "evaluation", update, 0.0, metrics, {"notes": notes} if notes else {}
        )
    yield Record("lstm/trial/0", "end", len(noted), 0.0, {"objective": 0.7}, {"state": "finished"})


def booked(*noted):
    """Returns what was said, and the tag of the notes."""
    said, tracker = [], Tracker()
    display = SimpleNamespace(say=lambda line, style: said.append(line), advance=lambda *_: None)
    dataset = SimpleNamespace(fingerprint="f", name="text", source="here")
    entry = Entry(Settings(cell="lstm", corpus="text"), "0", "label", {}, dataset)
    Books(tracker, display, "validation/perplexity", lambda _: entry, lambda *_: False).listen(
        list(records(*noted))
    )
    return said, tracker.tags.get("notes")


def test_nothing_noted_is_nothing_said():
    assert booked([], []) == ([], None)


def test_what_is_noted_late_is_said_once_and_kept():
    assert booked(["a"], ["a", "b"], []) == (["a", "b"], "a\nb")
    assert booked([], [], ["b"]) == (["b"], "b")
