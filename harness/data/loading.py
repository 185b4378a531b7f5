"""From settings to data, whatever their task: a text as numbers, or sequences."""

from harness.data import dataset, facts
from harness.data.dataset import Dataset
from harness.data.sequences import dataset as sequence_dataset
from harness.data.sequences.sets import SequenceDataset
from harness.settings import Settings

Data = Dataset | SequenceDataset


def load(settings: Settings) -> Data:
    """Returns the data that the settings name, enough of it for their windows.

    Raises:
        DataError: The settings contradict each other, a file is missing or not what it must be, or
            there is too little of it. The message has a line for every problem found.
    """
    if settings.is_of_language:
        return dataset.load(settings)
    return sequence_dataset.load(settings)


def provide(settings: Settings, data: Data) -> None:
    """Has :func:`load` return data for such settings, whose files lie on another machine."""
    if isinstance(data, Dataset):
        dataset.provide(settings, data)
    else:
        sequence_dataset.provide(settings, data)


def reading_of(data: Data) -> tuple[object, ...]:
    """Returns what data agree in that are one, read in one way."""
    if isinstance(data, Dataset):
        return facts.reading(data)
    return (data.fingerprint,)
