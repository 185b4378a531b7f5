"""Several machines each train a share of a round, and the study is that of one machine."""

import contextlib
import io

import pandas as pd
import pytest
import small_study
from rich.console import Console

from harness.runner import exchange, launch
from harness.runner.exchange import Shard, ShardError
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.training import worker

COUNT = 3


@pytest.mark.parametrize("text", ["", "2", "0/2", "3/2", "1/0", "-1/2", "a/b", "1/2/3", "1/99999"])
def test_a_share_that_does_not_exist_is_refused(text):
    with pytest.raises(ShardError, match="--shard: must be I/N, .* Write for example --shard 2/4"):
        Shard.parse(text)


def test_all_shares_are_all_packs_each_once():
    plans = list(range(7))
    shares = [Shard.parse(f"{number}/{COUNT}").of(plans) for number in (1, 2, 3)]
    assert sorted(sum(shares, [])) == plans and max(map(len, shares)) == 3


def arm_statuses(locations):
    runs = StudyReader(locations.tracking_uri, "small").search()
    return {run.status for run in runs if run.tags["phase"] == "arm"}


@pytest.mark.slow
@pytest.mark.usefixtures("without_report_files")
def test_a_round_in_shares_is_that_of_one_machine(tmp_path):
    def write(folder):
        path = small_study.write(folder, trials=2, seeds=2, updates=8)
        return path, Locations(folder)

    path, locations = write(tmp_path / "shares")
    said, statuses = [], []
    for turn in range(6):
        records = []
        for number in range(1, COUNT + 1):
            plan, shard = tmp_path / f"{turn}-{number}", Shard(number, COUNT)
            line = exchange.write_plan(path, plan, locations=locations, force=True, shard=shard)
            said.append(line)
            if plan.exists():
                records.append(plan.with_suffix(".jsonl"))
                with open(records[-1], "w") as out, contextlib.redirect_stdout(out):
                    assert worker.main([str(plan)]) in (0, None)
        for file in reversed(records):
            exchange.ingest_records(path, file, locations=locations)
        if not records:
            break
        statuses.append(arm_statuses(locations))
    assert statuses[0] == {"KILLED"} and statuses[-1] == {"FINISHED"}
    assert all("nothing is missing" in line for line in said[-COUNT:])
    assert any("packs has none for 3/3" in line for line in said)
    quiet = Console(file=io.StringIO())
    shared = launch.run(path, locations=locations, force=True, console=quiet)
    path, locations = write(tmp_path / "whole")
    whole = launch.run(path, locations=locations, force=True, console=quiet)
    pd.testing.assert_frame_equal(shared.table, whole.table, check_exact=True)
