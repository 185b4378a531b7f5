"""What the tests of the archive ask of a store, and of the program."""

import signal
import sys

import pytest

from harness.cli import main
from harness.results import names
from harness.store import tracker
from harness.store.locations import Places


def books_of(folder, name):
    return tracker.Tracker(Places(folder).tracking_uri, name, Places(folder).artifacts)


def runs_of(folder, name):
    return names.Archive(Places(folder)).study(name)[1]


def cli(monkeypatch, capsys, *words):
    """Runs the program in this process; returns its exit code, and what it said on both streams."""
    monkeypatch.setattr(sys, "argv", ["harness", *map(str, words)])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    return end.value.code or 0, said.out, said.err
