"""What a command does with a study before it imports what it works with."""

from harness.store.locations import Locations


def read(
    study: str, set_: list[str] | None, locations: Locations, *, trains: bool = False
) -> tuple[str, ...]:
    """Returns the overrides of a study that is found right.

    Of one that is not trained files of its cells may be gone.

    It is read before a command imports what it works with, which takes seconds, so that whatever
    is wrong with it is said at once.

    Raises:
        ValueError: The study, an override or its name is wrong.
    """
    from harness import study as studies  # it loads pydantic, which --help does without
    from harness.store.kept import load_stored, load_study

    overrides = tuple(set_ or ())
    if studies.is_file(study):  # reading a name loads pandas, and the command says the same
        load = load_study if trains else load_stored
        load(study, overrides, locations)
    return overrides
