"""What fixes a run, apart from its seed: one dataclass, one table.

The YAML reader, its JSON schema, the documentation's table of fields and the plan that a worker
reads are all made from these fields, so a field is described once. Standard library only: a worker
needs no more.

From the bottom: limits and values (what a field may hold), fields and table (what is said of each),
checks and serialization (whether settings fit the table, and how they travel), samples (what a run
writes, which is no setting of it).
"""

from harness.settings.checks import problems_of
from harness.settings.limits import (
    MOST_LAYERS,
    MOST_MULTIPLE,
    MOST_PARAMETERS,
    MOST_ROUNDS,
    MOST_RUNS,
    MOST_SECONDS,
    MOST_THREADS,
    MOST_TOKENS,
    MOST_UNITS,
    MOST_UPDATES,
)
from harness.settings.samples import SampleRequest
from harness.settings.serialization import all_values, from_dict, to_dict
from harness.settings.table import EXECUTION, LATER, PER_RUN, Settings, with_paths
from harness.settings.values import (
    LANGUAGE,
    Budget,
    BudgetError,
    DeviceName,
    EngineName,
    Initialization,
    Lines,
    MaskDuration,
    OptimizerName,
    Options,
    OptionValue,
    Paths,
    Precision,
    ScheduleName,
    Split,
    TaskName,
    Token,
    Windows,
)

__all__ = [
    "Budget",
    "BudgetError",
    "DeviceName",
    "EXECUTION",
    "EngineName",
    "Initialization",
    "LANGUAGE",
    "LATER",
    "Lines",
    "MOST_LAYERS",
    "MOST_MULTIPLE",
    "MOST_PARAMETERS",
    "MOST_ROUNDS",
    "MOST_RUNS",
    "MOST_SECONDS",
    "MOST_THREADS",
    "MOST_TOKENS",
    "MOST_UNITS",
    "MOST_UPDATES",
    "MaskDuration",
    "OptimizerName",
    "OptionValue",
    "Options",
    "PER_RUN",
    "Paths",
    "Precision",
    "SampleRequest",
    "ScheduleName",
    "Settings",
    "Split",
    "TaskName",
    "Token",
    "Windows",
    "all_values",
    "from_dict",
    "problems_of",
    "to_dict",
    "with_paths",
]
