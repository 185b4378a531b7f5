"""``harness check``: what a study will do, cost, and be able to show, before anything trains."""

from rich import box
from rich.console import Console
from rich.table import Table

from harness import launch, pilot, statistics, study
from harness.pilot import Pilot


def check(path: str, overrides: tuple[str, ...], *, resolved: bool, force: bool, console: Console) -> None:
    """Prints the study with its defaults, or its arms, costs and design.

    Raises:
        ValueError: The study or its data is wrong, or its design cannot reach its own threshold.
    """
    loaded = study.load(path, overrides)
    if resolved:
        console.print(study.dump(loaded.resolved()), markup=False, highlight=False, soft_wrap=True)
        return
    settings, notes = pilot.resolve(loaded)
    pilots = [pilot.pilot(loaded, arm, own) for arm, own in settings.items()]
    console.print(_arms_table(pilots))
    for line in [*notes, *_costs(loaded, pilots), *_design(loaded)]:
        console.print(line, markup=False, highlight=False)
    launch.check_design(loaded, force)


def _arms_table(pilots: list[Pilot]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, caption="FLOPs: forward, per token")
    table.add_column("arm", no_wrap=True)
    for column in ("engine", "H", "params", "FLOPs", "updates", "runs", "time"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    for p in pilots:
        counts = (p.hidden_size, p.num_parameters, p.flops_per_token, p.num_updates, p.num_runs)
        table.add_row(p.arm, p.settings.engine, *(f"{count:,}" for count in counts), duration(p.seconds))
    return table


def _costs(loaded: study.Study, pilots: list[Pilot]) -> list[str]:
    phase = loaded.measure.runtime
    sizes = {1, max(pilot.study_pack_size(loaded, p.settings) for p in pilots)}
    timing = 0.0 if phase is None else phase.rounds * phase.seconds * len(pilots) * len(sizes) * 2
    training = sum(p.seconds for p in pilots)
    num_runs = sum(p.num_runs for p in pilots)
    return [
        f"{num_runs} runs: about {duration(training)} of training by two updates of each arm's pack, at least "
        f"{duration(timing)} of timing; evaluation comes on top"
    ]


def _design(loaded: study.Study) -> list[str]:
    comparisons, seeds = len(loaded.arms) - 1, loaded.replicate.seeds
    reach, needed = statistics.smallest_p(seeds), statistics.seeds_needed(comparisons, loaded.measure.threshold)
    pairs = f"{comparisons} comparison{'s' if comparisons > 1 else ''} with {loaded.baseline.name}"
    return [
        f"{pairs} over {seeds} paired seeds: the smallest sign-flip p is {reach:.3g}, and "
        f"{loaded.measure.threshold / comparisons:.3g} must be reached, which takes {needed} seeds"
    ]


def duration(seconds: float) -> str:
    """Returns a duration as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
