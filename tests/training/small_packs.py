"""What tests of packs share: plans of small runs, and what is said of one of them."""

from dataclasses import replace

from wire import kind_of

from harness.training.plan import Plan, Run
from harness.training.steps import train


def plan_of(settings, *changes, **plan):
    changes = changes or ({},)
    runs = tuple(
        Run(f"r{i}", (i,), replace(settings, **change)) for i, change in enumerate(changes)
    )
    return Plan(runs, **plan)


def records_of(plan):
    return [record for records in train(plan) for record in records]


def kept(records, kind, run="r0"):
    return [r for r in records if kind_of(r) == kind and r.run == run]


def ended(records, run="r0"):
    (end,) = kept(records, "end", run)
    return end


def losses_of(records, split="validation", run="r0"):
    return [r.metrics[f"{split}/loss"] for r in kept(records, "evaluation", run)]
