"""Cells against the recurrent operators of ONNX Runtime: copied weights, float32, no gradients.

A row says which operator, with which attributes, and in which order its parameters have our gates.
"""

import numpy as np
import pytest
import torch
from compared import OPERATORS
from tolerances import assert_close

from harness import Recurrent

REASON = "the packages of the extra export are not installed"
onnx = pytest.importorskip("onnx", reason=REASON)
onnxruntime = pytest.importorskip("onnxruntime", reason=REASON)
pytestmark = pytest.mark.oracle

T, B, I, H = 5, 3, 4, 6


def session_of(row, inputs, count):
    """The operator alone; it returns all outputs and the final states."""
    states = ["h", "c"][:count]
    names = ["x", "W", "R", "B", "", *(f"initial_{name}" for name in states)]
    names += ["P"] if row.peepholes else []
    node = onnx.helper.make_node(
        row.operator,
        names,
        ["y", *(f"final_{name}" for name in states)],
        hidden_size=H,
        direction="bidirectional",
        **{
            key: value * 2 if isinstance(value, list) else value
            for key, value in row.attributes.items()
        },
    )
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [onnx.helper.make_tensor_value_info(key, kind, v.shape) for key, v in inputs.items()],
        [
            onnx.helper.make_tensor_value_info(
                name, kind, (T, 2, B, H) if name == "y" else (2, B, H)
            )
            for name in node.output
        ],
    )
    opset = [onnx.helper.make_opsetid("", 20)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.checker.check_model(model)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def rows_of(ours, suffix, kind, gates):
    """All gates' blocks of one kind of parameters in one direction, in the operator's layout."""
    found = {}
    for spec in ours.cell.parameters(I, H, 2):
        if spec.kind == kind:
            parts = getattr(ours, spec.name + suffix).chunk(len(spec.gates), dim=-1)
            found |= dict(zip(spec.gates, parts, strict=True))
    first = next(iter(found.values()))
    # A gate that has no second bias has it in the first one.
    parts = [found.get(gate, torch.zeros_like(first)) for gate in gates]
    return torch.cat([part.t() if part.ndim == 2 else part for part in parts])


@pytest.mark.parametrize("name", OPERATORS)
@torch.no_grad()
def test_a_cell_equals_the_operator_in_both_directions(name):
    row, gates = OPERATORS[name], OPERATORS[name].gates.split()
    torch.manual_seed(0)
    ours = Recurrent(name, I, H, bidirectional=True, engine="reference")
    x, state = torch.randn(T, B, I), tuple(torch.randn(2, B, H) for _ in ours.cell.state)

    def both(*kinds):
        made = [
            torch.cat([rows_of(ours, suffix, kind, gates) for kind in kinds])
            for suffix in ours.suffixes
        ]
        return torch.stack(made)

    inputs = {"x": x, "W": both("input"), "R": both("recurrent")}
    inputs["B"] = both("bias", "recurrent_bias")
    inputs |= {f"initial_{key}": value for key, value in zip("hc", state, strict=False)}
    if row.peepholes:
        vectors = [[getattr(ours, p + s) for p in row.peepholes] for s in ours.suffixes]
        inputs["P"] = torch.stack([torch.cat(parts) for parts in vectors])
    given = {key: values.numpy() for key, values in inputs.items()}
    y, *theirs = session_of(row, given, len(state)).run(None, given)
    output, final = ours(x, state if len(state) > 1 else state[0])
    assert_close(torch.from_numpy(np.concatenate([y[:, 0], y[:, 1]], axis=-1)), output)
    for one, other in zip(theirs, final if len(state) > 1 else (final,), strict=True):
        assert_close(torch.from_numpy(one), other)
