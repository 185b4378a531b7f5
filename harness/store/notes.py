"""What a study's experiment keeps beside its runs: texts of any length, and notes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # it takes seconds, and reading needs none
    from mlflow import MlflowClient

PREFIX = "harness."
"""What the names of all these tags begin with."""
DESCRIPTION_TAG = "mlflow.note.content"
"""The tag that MLflow shows as an experiment's description."""
LINKS_BEGIN = " · ["
"""What follows the words of a description's first line: links that only a page can open."""
EXPERIMENT_TAG_LENGTH = 5000  # taken by every MLflow 3; 3.17 allows 20000


class Origin(NamedTuple):
    """Where a study was read from: its file's path, and what overrode it."""

    path: str | None
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class StudyNotes:
    """What a study remembers from launch to launch.

    Attributes:
        pinned: Arm -> what was resolved when it was first run: engine, text, and the updates that a
            budget of seconds bought.
        timed: Digest of what the stored timings were measured at; empty once they are stale, None
            before there were any.
        reported: Digest of the report that the experiment shows.
        complete: Digest of what the study asked for when it lacked nothing.
        warnings: What the search had to say beside the verdict.
        looks: The numbers of pairs at which a whole verdict was shown.
        origin: Where the study was read from.
        texts: The facts of each text, as :meth:`harness.data.CorpusFacts.to_json` writes them.
        simple_errors: Condition -> the errors of simple forecasters, the fields of an
            :class:`harness.tasks.forecast_metrics.ErrorRow` each; empty where nothing is forecast.
    """

    pinned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    timed: str | None = None
    reported: str | None = None
    complete: str | None = None
    warnings: tuple[str, ...] = ()
    looks: tuple[int, ...] = ()
    origin: Origin | None = None
    texts: tuple[Mapping[str, Any], ...] = ()
    simple_errors: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def to_texts(self) -> dict[str, str | None]:
        """Returns the stored texts by their keys; None for what was never noted."""
        origin = None if self.origin is None else json.dumps(self.origin._asdict())
        return {
            "fixed": json.dumps(self.pinned) if self.pinned else None,
            "timed": self.timed,
            "reported": self.reported,
            "complete": self.complete,
            "warnings": "\n".join(self.warnings) if self.warnings else None,
            "looks": json.dumps(self.looks) if self.looks else None,
            "origin": origin,
            "texts": json.dumps(self.texts) if self.texts else None,
            "simple_errors": json.dumps(self.simple_errors) if self.simple_errors else None,
        }

    @staticmethod
    def from_texts(texts: Mapping[str, str | None]) -> "StudyNotes":
        """Returns the notes that :meth:`to_texts` wrote."""
        origin = json.loads(texts["origin"] or "null")
        return StudyNotes(
            pinned=json.loads(texts["fixed"] or "{}"),
            timed=texts["timed"],
            reported=texts["reported"],
            complete=texts["complete"],
            warnings=tuple((texts["warnings"] or "").splitlines()),
            looks=tuple(json.loads(texts["looks"] or "[]")),
            origin=origin and Origin(origin["path"], tuple(origin["overrides"])),
            texts=tuple(json.loads(texts["texts"] or "[]")),
            simple_errors=json.loads(texts["simple_errors"] or "{}"),
        )


NOTE_KEYS = tuple(StudyNotes().to_texts())
assert len(NOTE_KEYS) == len(fields(StudyNotes))


def load_notes(tags: Mapping[str, str]) -> StudyNotes:
    """Returns the notes of an experiment from its tags."""
    return StudyNotes.from_texts({key: kept_text(tags, f"note.{key}") for key in NOTE_KEYS})


def save_notes(client: "MlflowClient", experiment_id: str, notes: StudyNotes) -> None:
    """Writes the notes that differ from the stored ones. A crash leaves each the old or the new."""
    stored = load_notes(client.get_experiment(experiment_id).tags).to_texts()
    for key, text in notes.to_texts().items():
        if text != stored[key]:
            keep_text(client, experiment_id, f"note.{key}", text or "")


def keep_text(client: "MlflowClient", experiment_id: str, key: str, text: str) -> None:
    """Writes a text of any length as tags: its parts first, then the one tag that names them."""
    prefix = f"{PREFIX}{key}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    starts = range(0, len(text), EXPERIMENT_TAG_LENGTH)
    parts: Sequence[str] = [text[i : i + EXPERIMENT_TAG_LENGTH] for i in starts]
    tags = client.get_experiment(experiment_id).tags
    stale = [tag for tag in tags if tag.startswith(f"{prefix}.") and digest not in tag]
    for i, part in enumerate(parts):
        client.set_experiment_tag(experiment_id, f"{prefix}.{digest}.{i}", part)
    client.set_experiment_tag(experiment_id, prefix, f"{digest} {len(parts)}")
    for tag in stale:
        client.delete_experiment_tag(experiment_id, tag)


def kept_text(tags: Mapping[str, str], key: str) -> str | None:
    """Returns what :func:`keep_text` wrote, None where it wrote nothing."""
    prefix = f"{PREFIX}{key}"
    if prefix not in tags:
        return None
    digest, count = tags[prefix].split()
    return "".join(tags[f"{prefix}.{digest}.{i}"] for i in range(int(count)))
