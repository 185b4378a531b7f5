"""Packed sequences: how they are cut into pieces, and that what has ended counts nowhere."""

import pytest
import torch
from small_layers import CLOSE, H, I
from torch.nn.utils.rnn import (
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
)

import cells
from harness import Recurrent
from harness.layer.pieces import Form


def test_a_piece_ends_where_fewer_than_half_of_its_rows_are_left():
    x = pack_padded_sequence(
        torch.arange(72.0).view(9, 8, 1), torch.tensor([9, 8, 5, 5, 3, 3, 2, 2])
    )
    form = Form.of(x, False)
    pieces = form.pieces(x.data)
    assert [piece.values.shape[:2] for piece in pieces] == [(5, 8), (4, 2)]
    assert [piece.present.sum(1).tolist() for piece in pieces] == [[8, 8, 6, 4, 4], [2, 2, 2, 1]]
    assert torch.equal(form.output(pieces).data, x.data)
    assert [len(piece.values) for piece in form.pieces(x.data, share=1.0)] == [2, 1, 2, 3, 1]
    assert all(piece.present is None for piece in form.pieces(x.data, share=1.0))


class Exploding(cells.Cell):
    """h' = exp(x + h).

    Source: none.
    Reference: none.
    Differs: no parent.
    """

    name, gates, state, unbiased = "exploding", ("h",), ("h",), ("h",)
    products = {}

    def step(self, p, x, h):
        return (torch.exp(x.h + h),)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_what_a_row_that_has_ended_would_become_counts_nowhere(engine):
    """After e^7 comes e^e^7: an overflow, whose gradient would be zero times infinity."""
    made = Recurrent(Exploding, 1, 1, engine=engine, dtype=torch.float64)
    with torch.no_grad():
        made.W_l0.fill_(1.0)

    def results(*rows):
        rows = [row.clone().requires_grad_() for row in rows]
        output, h = made(pack_sequence(rows, enforce_sorted=False))
        leaves = [*rows, made.W_l0]
        return [h.flatten(), *torch.autograd.grad(output.data.log().sum() + h.log().sum(), leaves)]

    short, long = torch.full((1, 1), 7.0).double(), torch.full((2, 1), -1.0).double()
    h, *gradients, of_weight = results(short, long)
    alone = [results(row) for row in (short, long)]
    torch.testing.assert_close(h, torch.cat([each[0] for each in alone]), **CLOSE)
    torch.testing.assert_close(gradients, [each[1] for each in alone], **CLOSE)
    torch.testing.assert_close(of_weight, sum(each[2] for each in alone), **CLOSE)


def test_a_padded_output_is_zero_behind_the_end():
    x = pack_padded_sequence(torch.ones(5, 2, I), torch.tensor([2, 5]), enforce_sorted=False)
    output, _ = Recurrent("mgu", I, H, engine="reference")(x)
    padded, _ = pad_packed_sequence(output)
    assert padded[2:, 0].eq(0).all() and padded[2:, 1].ne(0).any()
