"""Which task a study's settings are of."""

import torch

from harness import data
from harness.data import sources
from harness.settings import Settings
from harness.tasks.language_modelling import LanguageModelling
from harness.tasks.sequence_prediction import SequencePrediction
from harness.tasks.task import Task


def task_of(settings: Settings, device: torch.device, objective: str | None = None) -> Task:
    """Returns the task of settings, with its data on the device.

    Args:
        settings: Of a pack.
        device: Where the data is kept.
        objective: The metric that its models are judged by, such as ``validation/accuracy``; None:
            what training follows.

    Raises:
        data.DataError: The data cannot be had, or there is too little of it; or layers that read
            from the end would read what is to be predicted.
    """
    where = sources.later_answer(settings.task, settings.corpus)
    if settings.bidirectional and where is not None:
        raise data.DataError(
            f"bidirectional: must be false, since {where}, and a layer that reads from the end has "
            "read it, but got bidirectional=true. Leave it out."
        )
    if settings.is_of_language:
        return LanguageModelling(settings, device)
    return SequencePrediction(settings, device, objective)
