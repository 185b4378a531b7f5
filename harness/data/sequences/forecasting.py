"""Windows of a time series, which is split by time and scaled by what its training part is."""

from dataclasses import dataclass
from typing import cast, get_args

from harness.data.errors import DataError
from harness.data.sequences import tables
from harness.data.sequences.gaps import Gaps
from harness.data.sequences.heads import OUTPUTS_PER_VALUE
from harness.data.sequences.levels import guess_of_values
from harness.data.sequences.options import listed, options_of, stamp, text, whole
from harness.data.sequences.series import GENERATED, Series, generated
from harness.data.sequences.series_windows import windows_of
from harness.data.sequences.sets import SequenceDataset, fingerprint, require_room
from harness.data.sequences.splits import cuts_by_shares, cuts_by_times
from harness.settings import MOST_PARAMETERS, MOST_TOKENS, Settings

MOST_POINTS = 1_000_000
"""Of a generated series: each point is some ten steps of an integration."""


@dataclass(frozen=True)
class Forecasting:
    """The options of a time series."""

    horizon: int = whole(1, least=1, most=MOST_TOKENS, doc="points ahead that are forecast")
    length: int = whole(5000, least=10, most=MOST_POINTS, doc="points of a generated series")
    series_seed: int = whole(0, least=0, most=MOST_PARAMETERS, doc="of a generated series")
    time: str = text("", doc="the column of time stamps of a table")
    columns: str = text("", doc="the columns that are read and forecast, parted by commas")
    gaps: str = text("refuse", doc="refuse, previous or linear: what becomes of missing values")
    head: str = text("value", doc="value, gaussian or quantiles: what is said of each value")
    shares: str = text("", doc="0.8, 0.1, 0.1: of train, validation and test, parted by commas")
    validation_from: int | float | str = stamp(doc="the first time of validation, 2019-01-01")
    test_from: int | float | str = stamp(doc="the first time of test, such as 2020-01-01")


def dataset(settings: Settings) -> SequenceDataset:
    """Returns the windows of the series that settings name.

    Raises:
        DataError: Options, a file or the series are not what they must be. The message has a line
            for every problem.
    """
    options = options_of(Forecasting, settings)
    if problems := _problems(options):
        raise DataError(*problems)
    series = _series(settings, options)
    windows = windows_of(series, settings.bptt_length, options.horizon, cuts=_cuts(series, options))
    width = windows.num_inputs + 2 * windows.num_outputs + options.horizon + 2
    require_room(len(series) * settings.bptt_length * width, "horizon, columns")
    splits = {name: windows.sequences(windows.starts(name)) for name in windows.splits}
    return SequenceDataset(
        name=settings.corpus,
        title=series.name,
        source=series.name,
        fingerprint=fingerprint(settings, splits),
        num_inputs=windows.num_inputs,
        num_outputs=windows.num_outputs * OUTPUTS_PER_VALUE[options.head],
        reads_tokens=False,
        predicts_classes=False,
        splits=splits,
        generator=None,
        guesses={
            name: guess_of_values(splits[name], options.head) for name in ("validation", "test")
        },
        windows=windows,
        head=options.head,
        meaning={
            "columns": list(series.columns),
            "mean": windows.scaling.mean.tolist(),
            "deviation": windows.scaling.deviation.tolist(),
            "horizon": options.horizon,
        },
    )


def _problems(options: Forecasting) -> list[str]:
    """Returns which options are not among those that there are, or contradict each other."""
    problems = [
        f"options.{name}: must be one of {', '.join(known)}, but got {value!r}."
        for name, value, known in (
            ("head", options.head, OUTPUTS_PER_VALUE),
            ("gaps", options.gaps, get_args(Gaps)),
        )
        if value not in known
    ]
    firsts = {"validation_from": options.validation_from, "test_from": options.test_from}
    missing = [name for name, value in firsts.items() if value == ""]
    if len(missing) == 1:
        (given,) = firsts.keys() - set(missing)
        problems.append(
            f"options.{missing[0]}: must be given with {given}, but is missing. Add it."
        )
    if options.shares and len(missing) < 2:
        problems.append(
            "options.shares: must be left out where times say how a series is split, but got "
            f"shares={options.shares!r}. Remove it, or validation_from and test_from."
        )
    return problems


def _series(settings: Settings, options: Forecasting) -> Series:
    columns, gaps = listed(options.columns), cast(Gaps, options.gaps)
    if settings.corpus in GENERATED:
        seed = ("data", settings.corpus, options.series_seed)
        return generated(settings.corpus, seed, options.length)
    if settings.path is None:
        return tables.shipped(settings.corpus, columns=columns, gaps=gaps)
    return tables.read_table(settings.path, time=options.time or None, columns=columns, gaps=gaps)


def _cuts(series: Series, options: Forecasting) -> tuple[int, int] | None:
    if options.shares:
        return cuts_by_shares(len(series), listed(options.shares))
    if options.test_from != "":
        return cuts_by_times(series, options.validation_from, options.test_from)
    return None
