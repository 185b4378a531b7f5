"""All that a study asks for, as one digest: a study is complete that was concluded with it."""

import hashlib
import json

from harness.study.model import Study


def demand(study: Study) -> str:
    """Returns a digest of all that a study asks for, with its numbers of trials and seeds."""
    tune, replicate = study.tune, study.replicate
    searched: list[int | None] | None = None
    if tune is not None:
        searched = [tune.trials, tune.batch, tune.repeats]
        if study.version > 1:
            searched += [tune.at_most, tune.finalists, tune.finalist_seeds]
    numbers = [
        searched,
        [replicate.seeds, replicate.until, replicate.at_most],
        study.measure.models,
        *(["states"] if study.measure.states else []),
    ]
    text = json.dumps([study.fingerprint, numbers], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
