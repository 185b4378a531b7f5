"""A plan on this machine: where its runs train, on what, until when, and that all of it can be."""

from dataclasses import dataclass

import torch

import cells
from harness import timing
from harness.engine import Engine
from harness.model.architecture import architecture
from harness.model.network import Model
from harness.settings import Settings
from harness.tasks.objective import loss_of, split_of
from harness.tasks.registry import task_of
from harness.tasks.task import Task
from harness.training.execution import (
    check_layer,
    passed_over,
    resolve_device,
    resolve_engine,
    threads_of,
)
from harness.training.patience import waits
from harness.training.plan import Plan, PlanError


@dataclass(frozen=True)
class ResolvedPlan:
    """What all runs of a pack have in common, and what does not change while they train.

    Attributes:
        plan: What was asked for.
        device: Where the runs train.
        engine: What executes their recurrences.
        notes: Why that is not another one.
        task: What is predicted, with the data.
        model: Of all runs alike.
        num_updates: The budget of a run.
        points: The updates after which it is evaluated.
        objective_key: The metric that selects and prunes, a loss.
        threads: How many threads the runs may use together.
    """

    plan: Plan
    device: torch.device
    engine: Engine
    notes: tuple[str, ...]
    task: Task
    model: Model
    num_updates: int
    points: list[int]
    objective_key: str
    threads: int


def resolve(plan: Plan) -> ResolvedPlan:
    """Loads what a plan names, and sees that it can be trained.

    Raises:
        ValueError: It cannot; one of INPUT_ERRORS.
    """
    for path in plan.cell_files:
        cells.load_file(path)
    settings = plan.settings
    device = torch.device(resolve_device(settings.device))
    engine, notes = resolve_engine(settings, device.type)
    timing.reset_peak_memory(device)
    task = task_of(settings, device, plan.objective)
    _check_text(plan, task)
    _check_held_out(plan, task)
    _check_directions(plan)
    key = _objective_key(plan, task)
    task.check(plan.samples)
    arch = architecture(settings, task.num_inputs, task.num_outputs, task.reads_tokens)
    model = Model(arch, engine)
    for layer in model.layers_of([run.settings for run in plan.runs]):
        check_layer(engine, layer, device)
    num_updates = settings.budget.num_updates(
        updates_per_epoch=task.updates_per_epoch, tokens_per_update=task.targets_per_update
    )
    return ResolvedPlan(
        plan=plan,
        device=device,
        engine=engine,
        notes=(*passed_over(settings.device), *notes),
        task=task,
        model=model,
        num_updates=num_updates,
        points=evaluation_points(settings, num_updates, task.updates_per_epoch),
        objective_key=key,
        threads=threads_of(settings),
    )


def evaluation_points(settings: Settings, num_updates: int, updates_per_epoch: int) -> list[int]:
    """Returns the updates after which a run is evaluated, the last one always among them."""
    if settings.evaluations == "epoch":
        return sorted({*range(updates_per_epoch, num_updates, updates_per_epoch), num_updates})
    count = min(settings.evaluations, num_updates)
    return [round((k + 1) * num_updates / count) for k in range(count)]


def _objective_key(plan: Plan, task: Task) -> str:
    """Returns the metric that selects and prunes, a loss.

    Raises:
        PlanError: The objective is unknown, or needs a split that the corpus does not have.
    """
    trained = [f"train/{each.key}" for each in task.trained_objectives]
    held_out = [f"validation/{each.key}" for each in task.objectives]
    is_known = plan.objective in (*trained, *held_out)
    if not is_known or split_of(plan.objective) not in task.splits:
        raise PlanError(
            f"objective: must be {' or '.join(trained)}, or {' or '.join(held_out)} where there is "
            f"a validation split, but got objective={plan.objective!r}. "
            f"Write objective: {trained[0]} where split is none."
        )
    return loss_of(plan.objective)


def _check_text(plan: Plan, task: Task) -> None:
    """Raises PlanError where this machine's text is not the one that the plan was made for."""
    asked = plan.corpus_fingerprint
    if asked is not None and asked != task.fingerprint:
        raise PlanError(
            f"plan: corpus must be the text that the plan was made for, "
            f"corpus_fingerprint={asked[:12]!r}, but this machine's {plan.settings.corpus} is "
            f"{task.fingerprint[:12]!r}. Copy the text, or use the same version of Python: "
            "python-docs differs between versions."
        )


def _check_held_out(plan: Plan, task: Task) -> None:
    """Raises PlanError where a run waits for a validation loss and there is no validation text."""
    waiting = [field for run in plan.runs for field in waits(run.settings)]
    if waiting and "validation" not in task.splits:
        raise PlanError(
            f"plan: there must be a validation text with {waiting[0]}, which waits for its losses, "
            f"but got split={plan.settings.split!r}. Write split: holdout."
        )


def _check_directions(plan: Plan) -> None:
    """Raises PlanError where states are to be followed that have no one order."""
    if plan.states and plan.settings.bidirectional:
        raise PlanError(
            "states: must be false with bidirectional layers, whose states do not follow one "
            "another in one order, but got states=true. Leave one of the two out."
        )
