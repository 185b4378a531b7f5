"""The codes of the messages on a study: what each means, and what to do.

A code is for good: it is looked up, searched for and quoted, also by programs. A message may be
worded better at any time; its code stays. docs/messages.md is made of this table.
"""

from typing import NamedTuple


class Code(NamedTuple):
    """What a code means, and what is to be done about it."""

    meaning: str
    remedy: str


CODES = {
    # The file
    "unreadable-file": Code(
        "The file does not exist, cannot be read, is too long, or is not UTF-8.",
        "Give the path of a study file; save it as UTF-8.",
    ),
    "yaml-syntax": Code(
        "The text is no YAML from here on.",
        "Look for a tab, a bracket or quote that is open, or a colon in text without quotes.",
    ),
    "yaml-text": Code(
        "The text holds a character that cannot be printed, or an escape that means none.",
        "Remove the character.",
    ),
    "yaml-feature": Code(
        "The file has a feature of YAML that study files do without: anchors, aliases, tags, or a "
        "second document.",
        "Write the values out.",
    ),
    "yaml-key": Code(
        "What stands before a colon is no name, or a name that stands there already.",
        "Write one word before the colon, and every name once.",
    ),
    "number-form": Code(
        "A number has `_`, a leading 0, or very many digits, which readers of YAML understand "
        "differently.",
        "Write the plain number, or quote it where it is text.",
    ),
    "override": Code(
        "What follows `--set` is not of the form `PATH=VALUE`, or leads into a value that holds no "
        "fields.",
        "Write for example `--set fix.hidden_size=128`.",
    ),
    # Single fields
    "unknown-field": Code(
        "There is no field of this name in this block, or it must not stand here.",
        "Take the name that the message proposes; `docs/study.md` lists all fields.",
    ),
    "missing-field": Code(
        "A field that has no default is not there.", "Add it, as the message shows."
    ),
    "wrong-kind": Code(
        "The value is of another kind: text for a number, a list for one value, and the like.",
        "Write the kind that the message names. Several values belong to `compare` or to `tune`.",
    ),
    "unknown-value": Code(
        "The field takes one of a few words, and this is none of them.",
        "Take one of those that the message lists. A text of your own is `corpus: text` with "
        "`path: FILE`.",
    ),
    "invalid-value": Code(
        "The value is too small, too large, empty, or not finite.", "Stay within the bounds."
    ),
    "bad-name": Code(
        "The name of a study, an arm or a condition has characters that names must not have, "
        "since files and tables are named after it.",
        "Write lower-case letters, digits and dashes.",
    ),
    "budget": Code(
        "A budget is exactly one of updates, tokens, epochs and seconds.", "Keep one of them."
    ),
    "unknown-cell": Code(
        "No cell of this name is shipped, or stands in a file of `cells:`.",
        "`harness cells` lists them; name the file of your own under `cells:`.",
    ),
    "cell-file": Code(
        "A file of `cells:` is missing, cannot be imported, or holds a cell that is wrong.",
        "`harness cells test FILE` says more.",
    ),
    # Arms
    "baseline": Code(
        "The baseline is none of the arms, or does not name a value of every crossed field.",
        "Name an arm; for a cross, one value of every crossed field.",
    ),
    "number-of-arms": Code(
        "The study has fewer than two arms, or more than it can have.",
        "Add what to compare with, or cross fewer values.",
    ),
    "equal-arms": Code(
        "Two arms have the same settings, or the same name.",
        "Remove one of them. A study of the bench itself says `identical_arms`.",
    ),
    "equal-conditions": Code("Two conditions are the same.", "Remove one of them."),
    "mixed-splits": Code(
        "Conditions of one study split their texts differently.", "Make it two studies."
    ),
    "preset": Code(
        "A name such as `irnn` stands for a cell with certain settings, and one of these is given "
        "another value.",
        "Remove the field, or name the cell itself.",
    ),
    "one-size": Code(
        "An arm's width is given by exactly one of `hidden_size`, `num_parameters` and "
        "`flops_per_token`.",
        "Keep one of them.",
    ),
    "equal-widths": Code(
        "A tied table, or a cell that reads its input itself, needs inputs as wide as the state.",
        "Give `embedding_size` the number of `hidden_size`; such cells stand on no bidirectional "
        "layer.",
    ),
    "objective": Code(
        "What trials are judged by is not a number of this task, or arms are of tasks that are "
        "judged by different numbers.",
        "Leave `objective` out, or take one of those that the message lists.",
    ),
    "reads-ahead": Code(
        "A bidirectional layer would have read what is to be predicted.",
        "Remove `bidirectional`; classes, and memory tasks that hold no answer, may have it.",
    ),
    "backward-states": Code(
        "States are measured from time step to time step, and those of bidirectional layers have "
        "no order in common.",
        "Remove `states`, or `bidirectional`.",
    ),
    "endless": Code(
        "Sequences are drawn afresh at every update, and something is counted in passes over them.",
        "Count in updates, or give the training set a size with `num_sequences`.",
    ),
    "corpus": Code(
        "The corpus does not go with the path or with the kind of token.",
        "`corpus: text` needs `path` or `paths`; a corpus without words needs `token: char`.",
    ),
    "no-validation-text": Code(
        "The objective is measured on a text that `split: none` does not hold out.",
        "Write `split: holdout`, or `measure: {objective: train/perplexity}`.",
    ),
    "too-few-evaluations": Code(
        "The field waits for validation losses, of which there are none or too few for it to act.",
        "Write `split: holdout`, and more `evaluations`; or less patience.",
    ),
    "engine": Code("The engine cannot run this cell or this setting.", "Write `engine: auto`."),
    "two-forget-biases": Code(
        "`chrono_steps` and `forget_bias` both set the bias of the forget gates.",
        "Remove one of the two.",
    ),
    "idle-field": Code(
        "The field changes nothing, since another one has a value with which it does not act.",
        "Remove it, or write what the message names.",
    ),
    # The search and the replicates
    "two-places": Code(
        "A field stands in two of `fix`, `compare` and `tune`.", "Remove one of the two."
    ),
    "search-form": Code(
        "What a field is searched over is neither a range nor a list of choices.",
        "Write `{low: LOW, high: HIGH}` or `{choices: [...]}`.",
    ),
    "empty-search": Code("`tune` names no field to search.", "Add one, or remove `tune`."),
    "range": Code(
        "The bounds, the step or the widening of a range contradict one another.",
        "Write low < high; a step divides the range, and does not stand beside `log`.",
    ),
    "repeated-choice": Code("A choice stands twice in a list.", "Remove one of the two."),
    "grid": Code("A grid needs choices, or ranges with a step.", "Add `step`."),
    "search-size": Code(
        "The numbers of trials, finalists and seeds contradict one another.",
        "Follow the message: each number names its bound.",
    ),
    "seconds": Code(
        "A budget in seconds is converted once an arm, and a searched field changes its speed.",
        "Write the budget in updates.",
    ),
    "repeats": Code(
        "Repeats of the whole are too few to be tested.", "Write 1, or as many as are asked for."
    ),
    "temperatures": Code(
        "`temperature` and `temperatures` stand beside each other, or one value stands twice.",
        "Write `temperatures` alone, each value once; 0 is always the likeliest token.",
    ),
    "seed-stages": Code(
        "The stages of `replicate.seeds` contradict one another, or the repeats of `tune`.",
        "Raise `at_most`, or write a plain number of seeds.",
    ),
    "version": Code(
        "The field came with version 2 of the format.",
        "Write `version: 2`, and give the study another name.",
    ),
    # What harness check finds, and harness run before it begins
    "too-few-pairs": Code(
        "Even if all pairs, or rounds of timings, agreed, the smallest p would not be below the "
        "threshold: the study could find nothing.",
        "Write as many seeds, repeats or rounds as the message says, or give `--force`.",
    ),
    "nothing-compared": Code(
        "No arm reads the text of the baseline, so that no losses compare.",
        "Write texts as conditions, under `across`.",
    ),
    "text": Code(
        "A text cannot be read, or does not go with the settings by which it is read.",
        "Correct the path, or the text, as the message says.",
    ),
    "text-too-short": Code(
        "A part of the text has fewer tokens than one update, or one evaluation, reads.",
        "Take a longer text, or a smaller `batch_size` or `bptt_length`.",
    ),
    "prefix": Code(
        "A text to be continued has a character that the model's vocabulary lacks.",
        "Write it with characters of the text.",
    ),
    "cell-step": Code(
        "A cell of your own raised an error in a step, or in training.",
        "Correct the cell at the line that the message names; `harness cells test FILE` says more.",
    ),
    "memory": Code(
        "The memory that is free does not suffice for one run.",
        "Take a smaller `hidden_size`, `batch_size` or `bptt_length`.",
    ),
    "no-run": Code(
        "A run with these settings cannot be built.", "Change the field that the message names."
    ),
}
"""Code -> what it means, in the order of the page."""


def messages_page() -> str:
    """Returns docs/messages.md."""
    rows = [f"| `{code}` | {each.meaning} | {each.remedy} |" for code, each in CODES.items()]
    head = """\
<!-- generated from harness/study/codes.py: tools/generate.py writes it -->

# Messages on a study file

A message on a study says where, which rule must hold, what was found, and what to do:

```text
small.yaml:15:3: fix.hiden_size: must be a field of fix, but got hiden_size=3. Did you mean \
hidden_size? [unknown-field]
```

The word in brackets is the code of the message. The wording may change; the code does not.

| code | what it means | what to do |
|---|---|---|
"""
    return head + "\n".join(rows) + "\n"
