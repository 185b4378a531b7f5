"""What cells cost: counts against torch's counter and by hand; no test asserts a time."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import cells
from cells.registry import FAMILIES
from harness.bench import ticker
from harness.bench.cost import figure, measure, request, roof, table
from harness.bench.cost.counts import (
    counted_flops,
    forward_bytes,
    parameter_bytes,
    training_bytes,
)
from harness.bench.cost.record import QUANTITIES, CellCost, Costs, Repeats, Roof
from harness.bench.cost.subject import Subject
from harness.bench.judge import PASSES
from harness.bench.record import BenchError
from harness.cli import app
from harness.model.architecture import single_layer
from harness.settings import Settings

TINY = ["--hidden", "8,4", "--engine", "reference", "--batch-size", "2", "--bptt-length", "3"]
TINY += ["--num-tokens", "5", "--large-batch", "4", "--rounds", "2", "--seconds", "0.001"]
TINY += ["--threads", "2", "--device", "cpu"]


def test_counts_of_an_lstm_and_a_gru_by_hand():
    h, v, b, t = 5, 7, 3, 4
    lstm = single_layer(cells.find("lstm"), v, h)
    shared = 4 * h * h + 4 * h + h * v + v  # R, b, and the read-out
    assert (lstm.num_parameters(), lstm.flops_per_token()) == (shared + v * 4 * h, 270)
    assert 270 == 2 * (h * 4 * h + h * v)
    assert parameter_bytes(lstm) == 4 * shared
    own = 4 * h + 2 * 2 * h + v  # a row of W; h and c, read and written; the scores
    assert forward_bytes(lstm, 1) == 4 * (shared + own)
    assert forward_bytes(lstm, b) == pytest.approx(4 * (shared / b + own))
    update = 4 * (shared + v * 4 * h) / (b * t)
    expected = 2 * forward_bytes(lstm, b) + 4 * (2 * 4 * h + update)
    assert training_bytes(lstm, b, t) == pytest.approx(expected)
    gru = single_layer(cells.find("gru"), v, h)
    # One gate keeps a recurrent bias of its own, as torch.nn has it.
    assert parameter_bytes(gru) == 4 * (3 * h * h + 3 * h + h + h * v + v)
    assert forward_bytes(gru, 1) == parameter_bytes(gru) + 4 * (3 * h + 2 * h + v)
    bits64 = replace(lstm, precision="float64")
    assert forward_bytes(bits64, b) == 2 * forward_bytes(lstm, b)


def test_a_cell_that_reads_its_input_multiplies_an_embedding():
    cell = next(c for c in map(cells.find, cells.names()) if c.reads_input and c.gates)
    h, v = 6, 9
    arch = single_layer(cell, v, h)
    width = len(cell.gates) * h
    assert arch.flops_per_token() - 2 * h * v >= 2 * h * width
    in_step = arch.num_parameters() - v * h  # all but the table, of which a row is read
    assert parameter_bytes(arch) == 4 * in_step
    own = h + 2 * arch.num_states() + v
    assert forward_bytes(arch, 1) == 4 * (in_step + own)


def test_torch_counts_what_the_closed_form_says():
    found = map(cells.find, cells.names())
    special = [c.name for c in found if c.is_prepared() or c.reads_input or c.projects]
    for name in dict.fromkeys([*(family[0] for family in FAMILIES.values()), *special]):
        cell = cells.find(name)
        arch = single_layer(cell, 5, 8)
        settings = Settings(cell=name, corpus="text", hidden_size=8)
        (forward, training), flops = counted_flops(arch, settings), arch.flops_per_token()
        if cell.is_prepared():  # a matrix that is made of a few numbers is multiplied whole
            assert forward >= flops, name
            continue
        assert forward == flops, name
        assert training == PASSES["train"] * flops, name


@pytest.fixture(scope="module", autouse=True)
def little_is_read():
    """A quarter of a gigabyte, read in every round, would take most of the tests' time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roof, "LEAST_MEMORY_BYTES", 2**20)
        patch.setattr(roof, "CACHES_EXCEEDED", 0)
        yield


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """One small command, its lines of progress shown at once: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("cost")
    files = ["--json", str(folder / "new" / "costs.json"), "--plot", str(folder / "costs.svg")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ticker, "QUIET_SECONDS", 0.0)
        patch.setattr(ticker, "LINE_SECONDS", {True: 0.0, False: 0.0})
        done = CliRunner().invoke(app, ["cost", "lstm", "gru", *TINY, *files])
    assert done.exit_code == 0, done.output
    return folder, done


def test_every_quantity_is_measured_in_every_round(ran):
    found = json.loads((ran[0] / "new" / "costs.json").read_text())
    order = [(cell["cell"], cell["hidden_size"]) for cell in found["cells"]]
    assert order == [("lstm", 4), ("lstm", 8), ("gru", 4), ("gru", 8)]
    for cell in found["cells"]:
        assert cell["problem"] is None and cell["engine"] == "reference"
        assert list(cell["times"]) == list(QUANTITIES)
        for each in cell["times"].values():
            assert len(each["seconds"]) == len(each["busy"]) == 2 and each["count"] >= 1
            assert min(each["seconds"]) > 0 and each["median_seconds"] > 0 and each["gflops"] > 0
        assert len(cell["reading_seconds"]) == 2 and min(cell["reading_seconds"]) > 0
        assert cell["large_batch_tokens_per_second"] > 0 and cell["share_of_peak"] > 0
    assert [each["threads"] for each in found["roofs"]] == [1, 2]
    for each in found["roofs"]:
        for kind in ("gflops", "memory_gigabytes", "cache_gigabytes"):
            assert len(each[kind]) == 2 and min(each[kind]) > 0
    assert found["memory"] and found["energy"] and found["made"]["processor"]


def test_what_is_printed_fits_80_columns_and_leaves_nothing_unsaid(ran):
    folder, done = ran
    lines = done.stdout.splitlines()
    assert max(map(len, lines[:-1])) <= 80 and lines[-1] == str(folder / "costs.svg")
    for words in ("lstm (engine reference)", "update", "tokens/s", "parameters", "energy, mJ"):
        assert words in done.stdout
    assert "peak over" not in done.stdout and "memory, MB: " in done.stdout
    told = done.stderr.splitlines()
    assert told[0] == "warming up lstm at 4 units, 0 of 4 are ready"
    assert told[-1].startswith("round 2 of 2: gru at 8 units, ")


def test_the_figure_has_its_four_panels(ran):
    drawn = (ran[0] / "costs.svg").read_text()
    for words in ("lstm", "gru", "ms of a training update", "hidden size", "FLOPs a byte"):
        assert words in drawn
    assert "at the machine's peaks" in drawn or "at the machine&#x27;s peaks" in drawn


def made(**changes):
    """Costs of a cell at a size, of round numbers."""
    seconds = zip(QUANTITIES, (2.0, 1.0, 0.5, 4.0), strict=True)
    times = {quantity: Repeats(1, [each], [False]) for quantity, each in seconds}
    counts = {"flops_per_token": 10, "training_flops_per_token": 30}
    counted = {"counted_flops_per_token": 10.0, "counted_training_flops_per_token": 30.0}
    moved = dict.fromkeys(("token_bytes", "forward_bytes", "training_bytes", "large_bytes"), 5.0)
    cell = CellCost("lstm", 4, "cpu", 9, **counts, **counted, **moved, times=times)
    facts = {"rounds": "1", "date": "", "command": "", "git_commit": "", "git_dirty": "false"}
    facts |= {"device": "cpu", "cores": "1", "processor": "", "precision": "float32"}
    facts |= {"threads": "1", "seconds": "1", "load_average": "", "system": "", "device_name": ""}
    top = Roof(1, "by hand", [1e-7], [1.0], [2.0])
    found = Costs(facts, 2, 3, 5, 100, [replace(cell, reading_seconds=[1e-6], **changes)], [top])
    return replace(found, memory="not reported: why", energy="not reported: why not")


def test_rates_are_those_that_one_divides_by_hand():
    costs = made()
    (cell,) = costs.cells
    assert costs.tokens_per_second(cell) == 100 * 3 / 4.0
    assert costs.gflops(cell, "update") == 2 * 3 * 30 / 2.0 / 1e9
    assert costs.gflops(cell, "forward") == 2 * 3 * 10 / 1.0 / 1e9
    assert costs.gflops(cell, "token") == 10 / 0.5 / 1e9
    assert costs.gflops(cell, "large") == 100 * 3 * 10 / 4.0 / 1e9
    assert costs.share_of_peak(cell) == pytest.approx(90 / 100)
    printed = table.text(costs)
    row = next(line for line in printed.splitlines() if line.strip().startswith("4 "))
    assert row.split() == ["4", "2,000", "1,000", "500,000", "1", "75", "90", "%"]


def test_memory_and_energy_have_columns_where_they_are_reported_and_a_reason_where_not():
    unreported = table.text(made())
    assert "memory, MB: not reported: why." in unreported
    assert "energy, mJ an update: not reported: why not." in unreported
    costs = replace(made(memory_bytes=3_000_000, energy_joules=0.25), memory="m", energy="e")
    header = next(line for line in table.text(costs).splitlines() if "update  " in line)
    assert header.split()[-2:] == ["memory", "energy"]
    row = next(line for line in table.text(costs).splitlines() if line.strip().startswith("4 "))
    assert row.split()[-2:] == ["3", "250"]


def test_a_cell_that_fails_costs_its_own_row_alone(monkeypatch, tmp_path):
    train = Subject._train

    def failing(self, settings):
        if settings.hidden_size == 4:
            raise RuntimeError("no more memory")
        return train(self, settings)

    monkeypatch.setattr(Subject, "_train", failing)
    asked = request.Asked(["gru"], "4,8", "reference", "2", "3", "5", "4", "1", "0.001", "1", "cpu")
    costs = measure.measure(request.checked(asked))
    first, second = costs.cells
    assert first.problem == "RuntimeError: no more memory" and first.seconds("update") is None
    assert second.problem is None and second.seconds("update") > 0
    assert "RuntimeError: no more memory" in table.text(costs)
    assert figure.draw(costs, tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")


def test_all_that_is_wrong_with_the_options_is_told_at_once(tmp_path):
    wrong = request.Asked(
        ["lsmt", "gru-reset-before"], "64,x", "native", "0", "-1", "1", "2.5", "0", "nan", "x",
        "cpu", [str(tmp_path / "absent.py")], str(tmp_path), str(tmp_path / "a.gif"),
    )  # fmt: skip
    with pytest.raises(BenchError) as error:
        request.checked(wrong)
    expected = (
        "cell file: must exist, but got path=",
        "hidden: must be a whole number from 1 to 65536, but got hidden='x'.",
        "batch_size: must be a whole number from 1 to 1000000, but got batch_size='0'.",
        "bptt_length: must be a whole number from 1 to 1000000, but got bptt_length='-1'.",
        "num_tokens: must be a whole number from 2 to 1048576, but got num_tokens='1'.",
        "large_batch: must be a whole number from 1 to 1000000, but got large_batch='2.5'.",
        "rounds: must be a whole number from 1 on, but got rounds='0'.",
        "seconds: must be a number over 0, up to 3600, but got seconds='nan'.",
        "threads: must be a whole number from 1 on, but got threads='x'.",
        "json: must be a file that can be written, but got json=",
        "plot: must end in .svg, .png, .pdf, but got plot=",
        "engine: must run gru-reset-before, but got engine='native': torch.nn has no",
    )
    told = str(error.value).splitlines()
    assert len(told) == len(expected)
    for line, rule in zip(told, expected, strict=True):
        assert rule in line
    with pytest.raises(BenchError, match=r"cell='lsmt'. Did you mean lstm.* --file FILE\."):
        request.checked(request.Asked(["lsmt"]))
    with pytest.raises(BenchError) as error:
        request.checked(request.Asked([], ""))
    assert "must be given a cell at least" in str(error.value)
    assert "hidden: must name a size at least" in str(error.value)
