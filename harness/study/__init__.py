"""A study: one question as one YAML file. This package is the only reader of YAML.

``load`` returns a :class:`Study` whose arms, seeds and search space can be trusted, or raises one
:class:`StudyError` with everything that is wrong. A study of shipped cells is read without torch.

The modules from the bottom: document and reader (YAML with positions), absent (no file), fields,
blocks and form (what may be written), schema (that for editors), names (what an unknown name
means), parse (a form and its problems), arms (drafts of the arms), space, needs, arm_rules and
rules (what must hold across fields), missing_texts (files that are not there), units and model
(the result), build (from a form to a study), file (load, loads and from_dict), union (several
files as one), table (documentation).
"""

from harness.settings import SampleRequest
from harness.study.document import Problem, StudyError
from harness.study.file import from_dict, is_file, load, loads, problem_of_arms, problems_of_texts
from harness.study.model import (
    GONE,
    Arm,
    Choices,
    Measure,
    Range,
    Replicate,
    RuntimePhase,
    Study,
    Tune,
)
from harness.study.reader import dump
from harness.study.schema import json_schema
from harness.study.table import field_table

__all__ = [
    "GONE",
    "Arm",
    "Choices",
    "Measure",
    "Problem",
    "Range",
    "Replicate",
    "RuntimePhase",
    "SampleRequest",
    "Study",
    "StudyError",
    "Tune",
    "dump",
    "field_table",
    "from_dict",
    "is_file",
    "json_schema",
    "load",
    "loads",
    "problem_of_arms",
    "problems_of_texts",
]
