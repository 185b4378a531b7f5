"""What a study's task decides: its data, what its models are judged by, and which fields it has."""

from collections.abc import Iterator

from harness.data import corpora, sources
from harness.settings import LANGUAGE, Options
from harness.settings.values import shown
from harness.study import space
from harness.study.arms import ArmDraft
from harness.study.document import Path, Problem
from harness.study.needs import possible_values
from harness.study.parse import Parsed

OF_LANGUAGE = ("validation/perplexity", "train/perplexity")
OF_CLASSES = ("validation/accuracy", "validation/cross_entropy", "train/cross_entropy")
OF_VALUES = ("validation/mse", "validation/mae", "train/mse")
OF_HEAD = {
    "gaussian": ("validation/crps", "validation/nll", *OF_VALUES[:2], "train/nll"),
    "quantiles": ("validation/crps", *OF_VALUES[:2], "train/crps"),
}
"""What trials may be judged by; the first of each is what they are judged by unless told."""


def objectives_of(arm: ArmDraft) -> tuple[str, ...]:
    """Returns what trials of an arm may be judged by, its own first."""
    if arm.value("task") == LANGUAGE:
        return OF_LANGUAGE
    if arm.value("corpus") not in sources.PREDICTING_VALUES:
        return OF_CLASSES
    options = arm.value("options")
    head = options.to_dict().get("head") if isinstance(options, Options) else None
    return OF_HEAD.get(str(head), OF_VALUES)


def default_objective(arms: list[ArmDraft]) -> str:
    """Returns what trials of arms are judged by; where these contradict each other, the first."""
    allowed = [objectives_of(arm) for arm in arms]
    if not allowed:
        return OF_LANGUAGE[0]
    common = (each for each in allowed[0] if all(each in others for others in allowed))
    return next(common, allowed[0][0])


def rules(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    """Yields what contradicts an arm's task, or tasks that contradict each other."""
    for arm in arms:
        if not arm.invalid & {"task", "corpus"} and arm.value("corpus") is not None:
            yield from _data(parsed, arm)
            yield from _endless(parsed, arm)
            yield from _later_answers(parsed, arm)
    yield from _backward_states(parsed, arms)
    yield from _samples(parsed, arms)
    yield from _lengths(parsed, arms)
    yield from _objectives(parsed, arms)
    yield from _target(parsed, arms)


def _data(parsed: Parsed, arm: ArmDraft) -> Iterator[Problem]:
    """The data of an arm are of its task."""
    task, corpus = arm.value("task"), arm.value("corpus")
    names = tuple(corpora.CORPORA) if task == LANGUAGE else sources.OF_TASK[task]
    if corpus not in names:
        others = [name for name, held in sources.OF_TASK.items() if corpus in held]
        remedy = f"task: {others[0]}" if others else f"task: {LANGUAGE}, or leave task out"
        message = (
            f"must be one of {', '.join(names)} with task {task}, but got corpus={corpus!r}. "
            f"Write {remedy}."
        )
        yield parsed.document.at_value(arm.paths["corpus"], message, "corpus")
    elif task != LANGUAGE and (corpus in sources.TAKES_PATH) != (arm.value("path") is not None):
        if corpus in sources.TAKES_PATH:
            message = f"must come with path, but got corpus={corpus!r} alone. Add path: FILE."
            yield parsed.document.at_value(arm.paths["corpus"], message, "corpus")
        else:
            got = shown(arm.value("path"))
            message = (
                f"must be left out with corpus {corpus}, which is made by rule, but got "
                f"path={got}. Remove it."
            )
            yield parsed.document.at_value(arm.paths["path"], message, "corpus")


def _lengths(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    """How long sequences are is part of what is asked, and no setting of an answer."""
    is_asked = any(arm.value("task") != LANGUAGE for arm in arms if "task" not in arm.invalid)
    if is_asked and "bptt_length" in space.domains(parsed):
        message = (
            "must not be searched with a task other than language-modelling, where it says how "
            "long the sequences are, but got bptt_length=a range. Write it under fix, or under "
            "across for several lengths."
        )
        yield parsed.document.at_key(("tune", "bptt_length"), message, "unknown-field")


def _endless(parsed: Parsed, arm: ArmDraft) -> Iterator[Problem]:
    """Where sequences are drawn without end, nothing is counted in passes over them."""
    if arm.value("task") != "memory" or arm.value("num_sequences") is not None:
        return
    epochs, is_each = (
        getattr(arm.value("budget"), "epochs", None),
        arm.value("evaluations") == "epoch",
    )
    for field, got, remedy in (
        ("budget", epochs and f"epochs={epochs}", "budget: {updates: 2000}"),
        ("evaluations", is_each and "each=epoch", "evaluations: 20"),
    ):
        if got and field not in arm.invalid and field in arm.paths:
            message = (
                "must not be in epochs where every update draws fresh sequences, of which there "
                f"is no end, but got {got}. Write {remedy}, or num_sequences: 10000."
            )
            yield parsed.document.at_value(arm.paths[field], message, "endless")


def _reads_backwards(parsed: Parsed, arm: ArmDraft) -> bool:
    """Returns whether layers of an arm may be bidirectional."""
    possible = possible_values(arm, space.domains(parsed), "bidirectional")
    return "bidirectional" not in arm.invalid and True in possible


def _later_answers(parsed: Parsed, arm: ArmDraft) -> Iterator[Problem]:
    """No layer reads what is to be predicted."""
    task, corpus = arm.value("task"), arm.value("corpus")
    where = sources.later_answer(task, corpus)
    if where is not None and _reads_backwards(parsed, arm):
        data = f"task {task}" if task == LANGUAGE else f"corpus {corpus}"
        message = (
            f"must be false with {data}, since {where}, and a layer that reads from the end has "
            "read it, but got bidirectional=true. Remove it."
        )
        path: Path = arm.paths.get("bidirectional", ("tune", "bidirectional"))
        yield parsed.document.at_key(path, message, "reads-ahead")


def _backward_states(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    """States are followed from one time step to the next, which no two directions share."""
    measure = parsed.form.measure
    if not measure or not measure.states or parsed.is_invalid(("measure", "states")):
        return
    if any(_reads_backwards(parsed, arm) for arm in arms):
        message = (
            "must be false with bidirectional layers, whose states do not follow one another in "
            "one order, but got states=true and bidirectional=true. Remove one of the two."
        )
        yield parsed.document.at_value(("measure", "states"), message, "backward-states")


def _samples(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    """Models of language alone continue texts."""
    samples = parsed.form.measure and parsed.form.measure.samples
    if not samples or not samples.prefixes:
        return
    tasks = (arm.value("task") for arm in arms if "task" not in arm.invalid)
    other = next((task for task in tasks if task != LANGUAGE), None)
    if other is not None:
        message = (
            f"must stand with task: {LANGUAGE}, whose runs continue texts, but got samples with "
            f"task {other}. Remove it."
        )
        yield parsed.document.at_key(("measure", "samples"), message, "idle-field")


def _objectives(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    """All arms can be judged by what trials are judged by."""
    measure = parsed.form.measure
    known = [arm for arm in arms if not arm.invalid & {"task", "corpus"} and arm.value("corpus")]
    allowed = [objectives_of(arm) for arm in known]
    if not known or parsed.is_invalid(("measure", "objective")):
        return
    given = measure.objective if measure and "objective" in measure.model_fields_set else None
    common = [each for each in allowed[0] if all(each in others for others in allowed)]
    if not common:
        message = (
            "must be of tasks that are judged alike, since one verdict is about one number, but "
            f"got {' and '.join(sorted({arm.value('corpus') for arm in known}))}. "
            "Ask in a study each."
        )
        yield parsed.document.at_value(known[0].paths["corpus"], message, "objective")
    elif given is not None and given not in common:
        task = known[0].value("task")
        message = (
            f"must be one of {', '.join(common)} with task {task}, but got objective={given!r}. "
            f"Write objective: {common[0]}{_head_of(task, given)}."
        )
        yield parsed.document.at_value(("measure", "objective"), message, "objective")


def _head_of(task: str, objective: str) -> str:
    """Returns how a forecaster is written that an objective judges; nothing where none is."""
    heads = [head for head, judged in OF_HEAD.items() if objective in judged]
    return f", or options: {{head: {heads[0]}}}" if heads and task == "forecasting" else ""


def _target(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    """A perplexity is above 1, an error above 0, and an accuracy is 1 at most."""
    measure, known = parsed.form.measure, [arm for arm in arms if arm.value("corpus")]
    if not known or not measure or measure.target is None:
        return
    if any(arm.invalid & {"task", "corpus"} for arm in known):
        return
    given = "objective" in measure.model_fields_set
    objective = measure.objective if given else default_objective(known)
    rules = {"perplexity": ("> 1", measure.target > 1), "accuracy": ("<= 1", measure.target <= 1)}
    rules |= {error: ("> 0", measure.target > 0) for error in ("mse", "mae", "crps")}
    rule, holds = rules.get(objective.partition("/")[2], ("", True))
    if not holds:
        message = (
            f"must be {rule} with objective {objective}, but got target={measure.target:g}. "
            "Correct it, or the objective."
        )
        yield parsed.document.at_value(("measure", "target"), message, "invalid-value")
