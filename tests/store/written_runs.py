"""Runs that tests write, and a client that notes what is called."""

from collections.abc import Callable
from typing import Any

from harness.store.writer import StudyWriter
from harness.study.units import Phase, RunKey, Unit

Open = Callable[[], StudyWriter]


class Recorder:
    """Stands before the client and writes down what is called, in order."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, kwargs))
            return method(*args, **kwargs)

        return call

    def names(self) -> list[str]:
        """What was called; for log_batch, what it was given."""
        return ["+".join(kwargs) if name == "log_batch" else name for name, kwargs in self.calls]


def start(
    writer: StudyWriter, arm: str = "lstm", phase: str = "trial", index: int = 0, **tags: Any
) -> str:
    params = {"learning_rate": 0.1, "schedule": "cosine", "clip_norm": None}
    return writer.open_run(
        RunKey(Unit.parse(arm), Phase(phase), index),
        f"{arm} {phase} {index}",
        params,
        {"cell": arm, "seed": "0 trial 0", **tags},
    )


def record(writer: StudyWriter, run_id: str, update: int, loss: float = 2.0) -> None:
    writer.log(run_id, update, {"train/loss": loss, "tokens": 32.0 * update}, time=1000.0 + update)


def tags_of(writer: StudyWriter) -> dict[str, str]:
    return writer._client.get_experiment(writer.experiment_id).tags


def updates(writer: StudyWriter, run_id: str, key: str = "train/loss") -> list[int]:
    return [metric.step for metric in writer._client.get_metric_history(run_id, key)]
