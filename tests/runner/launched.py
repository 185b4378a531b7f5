"""Small studies that are launched in this process, and what they leave."""

import io

from rich.console import Console

from harness import study
from harness.runner import launch
from harness.runner.progress import Display
from harness.store.locations import Locations
from harness.store.lock import held
from harness.store.reader import StudyReader


def run(path, folder, **options):
    console = Console(file=io.StringIO(), width=100)
    report = launch.run(path, locations=Locations(folder), console=console, **options)
    return report, console.file.getvalue()


def store_of(folder):
    return StudyReader(Locations(folder).tracking_uri, "small")


def scheduler_of(path, folder, *overrides):
    display = Display(Console(file=io.StringIO()))
    return launch.open_scheduler(study.load(path, overrides), Locations(folder), display, held)
