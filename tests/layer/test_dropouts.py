"""A layer's dropouts and zoneout: those of the bench, and one mask for all time steps."""

import pytest
import torch
from small_layers import B, H, I, T
from torch.nn.utils.rnn import pack_padded_sequence

from harness import Recurrent
from harness.layer.dropouts import with_input_dropout
from harness.layer.pieces import Form


def test_zoneout_holds_states_in_training_and_takes_the_mean_after():
    made = Recurrent("lstm", I, H, engine="reference", zoneout_h=0.3, zoneout_c=0.5)
    torch.manual_seed(1)
    x, hx = torch.randn(1, 500, I), (torch.randn(1, 500, H), torch.randn(1, 500, H))
    _, (h, c) = made(x, hx)
    assert 0.25 < (h == hx[0]).float().mean() < 0.35 and 0.45 < (c == hx[1]).float().mean() < 0.55
    plain = Recurrent("lstm", I, H, engine="reference")
    plain.load_state_dict(made.state_dict())
    _, (_, new) = plain(x, hx)
    _, (_, mean) = made.eval()(x, hx)
    torch.testing.assert_close(mean, 0.5 * hx[1] + 0.5 * new)


@pytest.mark.parametrize(
    "field", ["input_dropout", "state_dropout", "recurrent_dropout", "weight_dropout"]
)
def test_dropouts_are_those_of_the_bench_and_follow_torch_s_seed(field):
    made = Recurrent("lstm", I, H, 2, engine="reference", **{field: 0.5})
    x = torch.randn(T, B, I)
    torch.manual_seed(1)
    first = made(x)[0]
    second = made(x)[0]
    torch.manual_seed(1)
    assert torch.equal(made(x)[0], first) and not torch.equal(first, second)
    plain = Recurrent("lstm", I, H, 2, engine="reference")
    plain.load_state_dict(made.state_dict())
    assert torch.equal(made.eval()(x)[0], plain(x)[0])


def packed_rows():
    return pack_padded_sequence(torch.ones(9, 8, 4), torch.tensor([9, 9, 9, 9, 9, 8, 3, 2]))


def test_one_mask_holds_for_all_time_steps_of_a_packed_batch():
    x = packed_rows()
    pieces = with_input_dropout(Form.of(x, False).pieces(x.data, share=1.0), 0.5)
    rows = torch.cat([piece.values[:, 0] for piece in pieces])
    assert (
        len(pieces) == 4 and (rows == rows[0]).all() and set(rows.unique().tolist()) <= {0.0, 2.0}
    )
