"""What tests of sequence tasks share: training a plan to its end, and torch's layers as a run's."""

import torch

from harness.training.pack import Pack


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
