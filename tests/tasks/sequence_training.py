"""What tests of sequence tasks share: training a plan to its end, and torch's layers as a run's."""

import dataclasses

import torch

from harness.settings import Budget, Options, Settings
from harness.training.pack import Pack
from harness.training.plan import Plan, Run


def trained(plan):
    """Trains a pack to its end: run -> its parameters, and all messages."""
    pack = Pack(plan)
    shards = {run.id: (shard, i) for shard in pack.shards for i, run in enumerate(shard.runs)}
    messages = []
    try:
        while fresh := pack.advance():
            messages += fresh
    finally:
        pack.close()
    return {
        run: {name: p[i].clone() for name, p in shard.parameters.items()}
        for run, (shard, i) in shards.items()
    }, messages


def copy_lstm(start, layer, readout):
    """Gives an LSTM and a read-out of torch a run's parameters; returns those that are trained."""
    with torch.no_grad():
        layer.weight_ih_l0.copy_(start["layer0.W"].T)
        layer.weight_hh_l0.copy_(start["layer0.R"].T)
        layer.bias_ih_l0.copy_(start["layer0.b"])
        layer.bias_hh_l0.zero_().requires_grad_(False)
        readout.weight.copy_(start["readout.W"].T)
        readout.bias.copy_(start["readout.b"])
    return [p for p in (*layer.parameters(), *readout.parameters()) if p.requires_grad]


def small_tasks(folder):
    """Returns settings of tasks that read vectors, by name; a file lies in the folder.

    A value at the end of a sequence, a distribution of each of two values ahead, and a label at
    each step of sequences of several lengths.
    """
    path, rows = folder / "labels.csv", ["sequence,step,label,a,b"]
    for number in range(20):
        for step in range((2, 3)[number % 2]):
            a, b = (number * 7 + step) % 5, (number * 3 + step) % 4
            rows.append(f"s{number},{step},{'up' if a > b else 'down'},{a},{b}")
    path.write_text("\n".join(rows) + "\n")
    base = Settings(
        "lstm",
        corpus="adding",
        task="memory",
        num_held_out=4,
        bptt_length=3,
        batch_size=4,
        hidden_size=5,
        precision="float64",
        device="cpu",
        engine="reference",
        learning_rate=0.3,
        budget=Budget(updates=2),
        evaluations=1,
        threads=1,
    )
    series = Options.of({"length": 40, "horizon": 2, "head": "gaussian"})
    labels = Options.of({"label_of": "step", "balanced": True})
    changed = {
        "adding": {},
        "sine": {"corpus": "sine", "task": "forecasting", "options": series},
        "labelled": {
            "corpus": "labelled",
            "task": "classification",
            "options": labels,
            "path": str(path),
        },
    }
    return {name: dataclasses.replace(base, **fields) for name, fields in changed.items()}


def parameters_after(settings, **changed):
    """Returns the parameters of two runs of a pack at their end, on the CPU, a name each."""
    own = dataclasses.replace(settings, **changed)
    runs = tuple(
        Run(f"r{i}", (i,), dataclasses.replace(own, learning_rate=0.3 / (i + 1))) for i in (0, 1)
    )
    objective = f"validation/{'accuracy' if own.task == 'classification' else 'mse'}"
    ended, _ = trained(Plan(runs, objective=objective, version=2))
    return {f"{run}.{name}": p.cpu() for run, of in ended.items() for name, p in of.items()}
