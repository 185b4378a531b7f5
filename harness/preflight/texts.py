"""What a study's texts are like, as ``harness check`` shows it."""

from collections.abc import Mapping

from rich import box
from rich.table import Table
from rich.text import Text

from harness.data import CorpusFacts, Data, Dataset, corpus_facts
from harness.data.facts import LINE_LENGTH, SplitFacts, reading
from harness.study import Study
from harness.study.units import Unit

_LINES = ("sequences", "empty", "longest")
"""What is told of lines that are sequences: how many, how many are left out, most targets."""
LEGEND = (
    f"lines: of {LINE_LENGTH} characters or more; seen: those that stand in train word for word"
)


def facts_by_readers(study: Study, texts: Mapping[str, Data]) -> dict[str, CorpusFacts]:
    """Returns the facts of each text by who reads it.

    These are its conditions, or its arms where not all arms of a condition read it; nobody is named
    where all read one text.

    Args:
        study: All its conditions.
        texts: Of every arm by its key.
    """
    readers: dict[tuple[object, ...], list[str]] = {}
    known = {arm: text for arm, text in texts.items() if isinstance(text, Dataset)}
    for arm, text in known.items():
        readers.setdefault(reading(text), []).append(arm)
    is_one = len(readers) == 1 and len(known) == len(texts)
    names = [""] if is_one else [_named(study, arms) for arms in readers.values()]
    firsts = (known[arms[0]] for arms in readers.values())
    return dict(zip(names, map(corpus_facts, firsts), strict=True))


def _named(study: Study, arms: list[str]) -> str:
    names: list[str] = []
    for condition in study.conditions:
        own = [arm for arm in arms if Unit.parse(arm).condition == condition]
        is_whole = condition and len(own) == len(study.under(condition).arms)
        names += [condition] if is_whole else own
    return ", ".join(names)


def table(facts: Mapping[str, CorpusFacts]) -> Table:
    """Returns the table of all texts, which :func:`facts_by_readers` gave."""
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    made.add_column("text", overflow="fold")
    splits = [split for text in facts.values() for split in text.splits.values()]
    reads_lines = any(split.num_sequences is not None for split in splits)
    for column in ("tokens", "<unk>", "lines", "seen", *(_LINES if reads_lines else ())):
        made.add_column(column, justify="right", no_wrap=True)
    for readers, text in facts.items():
        kinds = {"char": "characters", "word": "words", "byte": "bytes", "subword": "subwords"}
        kind = kinds[text.token]
        title = f"{text.title}, {text.vocabulary_size:,} different {kind}"
        made.add_row(Text(f"{title} ({readers})" if readers else title, style="bold"))
        for name, split in text.splits.items():
            seen = "" if split.seen_share is None else _percent(split.seen_share)
            numbers = (f"{split.num_tokens:,}", _percent(split.unknown_share))
            of_lines = _of_lines(split) if reads_lines else []
            made.add_row(Text(f" {name}"), *numbers, f"{split.num_lines:,}", seen, *of_lines)
    return made


def _of_lines(split: SplitFacts) -> list[str]:
    """Returns the columns of ``_LINES``, empty where no line is a sequence."""
    counts = (split.num_sequences, split.num_empty, split.longest)
    return ["" if count is None else f"{count:,}" for count in counts]


def _percent(share: float) -> str:
    """Returns a share in percent.

    >>> [_percent(share) for share in (0.0, 0.0001, 0.043, 0.0995, 0.4567, 0.9996, 1.0)]
    ['0 %', '<0.1 %', '4.3 %', '10 %', '46 %', '>99 %', '100 %']
    """
    if 0.0 < share < 0.0005:
        return "<0.1 %"
    if 0.995 <= share < 1.0:
        return ">99 %"
    digits = 1 if 0.0 < share < 0.0995 else 0
    return f"{100 * share:.{digits}f} %"
