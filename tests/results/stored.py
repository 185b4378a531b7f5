"""What the tests of the results ask of a store, and of the program."""

import sys

import pytest

from harness.cli import main
from harness.results import names
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.store.writer import StudyWriter

writers = []
"""Those that a test has opened."""


def reader_of(folder, name):
    return StudyReader(Locations(folder).tracking_uri, name)


def writer_of(folder, name):
    """Returns a writer, which is closed after the test."""
    locations = Locations(folder)
    writers.append(StudyWriter(locations.tracking_uri, name, locations.artifacts))
    return writers[-1]


def runs_of(folder, name):
    return names.Archive(Locations(folder)).study(name)[1]


def cli(monkeypatch, capsys, *words):
    """Runs the program in this process; returns its exit code and both of its streams."""
    monkeypatch.setattr(sys, "argv", ["harness", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    printed = capsys.readouterr()
    return end.value.code or 0, printed.out, printed.err
