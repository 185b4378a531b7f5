"""What is resolved when an arm is first run, and must stay: engine, text, a budget's updates."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from harness.data import Data
from harness.preflight.resolve import first_values, runs_on, seconds_to_updates
from harness.settings import Settings
from harness.study import Study
from harness.study.units import Unit


def pin_resolved(
    study: Study,
    settings: Mapping[Unit, Settings],
    datasets: Mapping[Unit, Data],
    pinned: Mapping[str, Mapping[str, Any]],
    say: Callable[[str], None],
) -> tuple[dict[Unit, Settings], dict[str, dict[str, Any]], list[str]]:
    """Returns the arms' settings with what is pinned, all that is pinned now, and what changed.

    A budget of seconds becomes one of updates, which is measured once and then stays. So does the
    engine of ``auto``, where it still runs the arm: it may have become another since, by another
    version or a compiler that was missing. Changes mean that runs of one arm or study would not
    compare.

    Args:
        study: All its conditions.
        settings: Of every arm, by its unit of the first repeat.
        datasets: Likewise.
        pinned: What earlier launches pinned, by the arm's key.
        say: Told how many updates a budget of seconds buys.
    """
    pins: dict[str, dict[str, Any]] = {arm: dict(values) for arm, values in pinned.items()}
    changes, resolved = [], dict(settings)
    are_auto = {arm.key for arm in study.arms if arm.settings.engine == "auto"}
    for unit, own_settings in settings.items():
        pin = pins.setdefault(str(unit), {})
        engine = pin.get("engine", own_settings.engine)
        is_other = engine != own_settings.engine and str(unit) in are_auto
        if is_other and runs_on(engine, study.under(unit.condition), own_settings):
            resolved[unit] = own_settings = replace(own_settings, engine=engine)
            say(f"{unit}: engine {engine}, on which it began")
        now = {"engine": own_settings.engine, "text": datasets[unit].fingerprint[:12]}
        changes += [
            f"{unit}: {name}: {pin[name]} -> {value}"
            for name, value in now.items()
            if pin.setdefault(name, value) != value
        ]
        seconds = own_settings.budget.seconds
        if seconds is not None:
            if "updates" not in pin:
                tuned = replace(own_settings, **first_values(study.under(unit.condition)))
                measured = seconds_to_updates(study, str(unit), tuned)
                pin["updates"] = measured.budget.updates
            say(f"{unit}: {seconds:g} s are {pin['updates']} updates of a run alone")
            budget = replace(own_settings.budget, seconds=None, updates=pin["updates"])
            resolved[unit] = replace(own_settings, budget=budget)
    return resolved, pins, changes
