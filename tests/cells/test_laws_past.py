"""Laws of cells that oscillate, turn their state, or sum over their past; as `test_laws`."""

import pytest
import torch
from parity import H, random_inputs, random_parameters
from test_laws import OPEN, arguments, run
from test_laws_gated import everywhere
from tolerances import assert_close

import cells
from harness.engine import get

# Oscillators.


def test_a_step_of_unicornn_keeps_the_area_of_what_it_maps():
    """Of each unit's place and velocity: the determinant is 1, whatever u, c and the input are."""
    parameters, state = arguments("unicornn")
    inputs = random_inputs(steps=1, batch=1)

    def step(both):
        _, final = run("unicornn", parameters, (both[0][None, None], both[1][None, None]), inputs)
        return torch.stack([part[0, 0] for part in final])

    jacobian = torch.autograd.functional.jacobian(step, torch.stack([s[0, 0] for s in state]))
    for unit in range(H):
        assert_close(
            torch.linalg.det(jacobian[:, unit, :, unit]), torch.ones((), dtype=torch.float64)
        )


def test_unicornn_without_time_stands_still():
    parameters, state = arguments("unicornn")
    outputs, _ = run("unicornn", parameters | {"c": everywhere(-OPEN)}, state)
    assert_close(outputs, state[0].expand_as(outputs))


# Orthogonal matrices.


@pytest.mark.parametrize("name", ["exprnn", "scornn"])
def test_a_made_matrix_is_orthogonal_and_of_the_sign_that_its_cell_has(name):
    """Of six units D negates three."""
    made = cells.find(name).prepared(random_parameters(cells.find(name), 1, hidden=6, runs=2))["R"]
    identity = torch.eye(6, dtype=torch.float64).expand(2, 6, 6)
    assert_close(made @ made.mT, identity)
    sign = {"exprnn": 1.0, "scornn": -1.0}[name]
    assert_close(torch.linalg.det(made), torch.full((2,), sign, dtype=torch.float64))


@pytest.mark.parametrize("name", ["exprnn", "scornn"])
def test_an_orthogonal_network_without_input_and_bias_keeps_the_size_of_its_state(name):
    parameters, (h,) = arguments(name)
    parameters |= {"W": torch.zeros_like(parameters["W"]), "b_h": everywhere(0.0)}
    outputs, _ = run(name, parameters, (h,), random_inputs(steps=20))
    assert_close(outputs.norm(dim=-1), h.norm(dim=-1).expand(20, 1, -1))


def test_a_symmetric_parameter_starts_exprnn_at_the_identity_and_scornn_at_its_signs():
    symmetric = {"R": torch.ones(1, 5, 5, dtype=torch.float64)}
    identity = torch.eye(5, dtype=torch.float64)[None]
    signs = torch.tensor([-1.0, -1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    assert torch.equal(cells.find("exprnn").prepared(symmetric)["R"], identity)
    assert torch.equal(cells.find("scornn").prepared(symmetric)["R"], identity * signs)


def test_a_run_whose_system_has_no_solution_leaves_the_other_runs_alone():
    """In float32 I + A is A where A is that large, and of an odd size A is singular."""
    scornn, rows = cells.find("scornn"), torch.triu(torch.ones(2, 3, 3), 1)
    usual, diverged = rows * torch.tensor([1.0, 2.0**30])[:, None, None]
    with pytest.raises(torch.linalg.LinAlgError, match="singular"):
        torch.linalg.inv(torch.eye(3) + diverged - diverged.mT)
    together = scornn.prepared({"R": torch.stack([usual, diverged])})["R"]
    assert torch.equal(together[0], scornn.prepared({"R": usual[None]})["R"][0])
    assert not together[1].isfinite().all()


@pytest.mark.parametrize("size", [5, 64])
def test_the_scaled_transform_is_what_a_solution_that_is_checked_gives(size):
    """To the bit, its gradient too: stored runs of scornn were trained with such a one."""
    r = random_parameters(cells.find("scornn"), 1, hidden=size, runs=2)["R"].float()
    given, again = r.clone().requires_grad_(), r.clone().requires_grad_()
    found = cells.find("scornn").prepared({"R": given})["R"]
    skew, identity = again - again.mT, torch.eye(size)
    signs = torch.where(torch.arange(size) < size // 2, -1.0, 1.0)[:, None]
    expected = signs * torch.linalg.solve(identity + skew, identity - skew)
    towards = torch.randn(r.shape, generator=torch.Generator().manual_seed(0))
    found.backward(towards)
    expected.backward(towards)
    assert torch.equal(found, expected) and torch.equal(given.grad, again.grad)


# Sums over the past.


def from_the_start(name):
    """Random parameters of a cell, and the state that a sequence begins with."""
    cell, (parameters, state) = cells.find(name), arguments(name)
    start = (
        torch.full_like(s, cell.start.get(k, 0.0)) for k, s in zip(cell.state, state, strict=True)
    )
    return parameters, tuple(start)


def test_rwkv_without_keys_and_decay_shows_the_mean_of_all_values_so_far():
    """With the input alone in each value, u = 0, and r open by half."""
    parameters, start = from_the_start("rwkv-4")
    zero, identity = torch.zeros_like(parameters["K"]), torch.eye(H, dtype=torch.float64)[None]
    parameters |= {"R": zero, "K": zero, "O": identity}
    parameters |= {"mu_v": everywhere(1.0), "w": everywhere(-OPEN), "u": everywhere(0.0)}
    inputs = random_inputs(steps=6, inputs=H)
    outputs, _ = run("rwkv-4", parameters, start, inputs)
    count = torch.arange(1, 7, dtype=torch.float64).view(-1, 1, 1, 1)
    assert_close(outputs, 0.5 * torch.cumsum(inputs @ parameters["V"], 0) / count)


def test_rwkv_is_the_papers_quotient_of_sums_over_all_steps():
    parameters, start = from_the_start("rwkv-4")
    inputs = random_inputs(steps=7, inputs=H)
    before = torch.cat([torch.zeros_like(inputs[:1]), inputs[:-1]])
    r, k, v = (
        (mu * inputs + (1 - mu) * before) @ parameters[name.upper()]
        for name, mu in ((n, parameters[f"mu_{n}"]) for n in "rkv")
    )
    decay, expected = torch.exp(parameters["w"]), []
    for t in range(7):
        weights = [torch.exp(k[i] - (t - 1 - i) * decay) for i in range(t)]
        weights.append(torch.exp(k[t] + parameters["u"]))
        mean = sum(w * v[i] for i, w in enumerate(weights)) / sum(weights)
        expected.append((torch.sigmoid(r[t]) * mean) @ parameters["O"])
    assert_close(run("rwkv-4", parameters, start, inputs)[0], torch.stack(expected))


def test_rwkv_overflows_at_no_key():
    """Keys of thousands, of which exp is infinite in float64."""
    parameters, start = from_the_start("rwkv-4")
    large = parameters | {"K": parameters["K"] * 1e4}
    outputs, final = run("rwkv-4", large, start, random_inputs(steps=6, inputs=H))
    assert all(value.isfinite().all() for value in (outputs, *final))
    assert outputs.abs().max() > 1e-3


def test_lru_by_steps_is_the_closed_form():
    """The state is lambda^t h_0 + sum_k lambda^(t-k) * gamma * B x_k, in complex numbers."""
    parameters, state = arguments("lru")
    made, inputs = cells.find("lru").prepared(parameters), random_inputs(steps=9)
    eigenvalues = torch.complex(made["nu"], made["theta"])
    written = inputs @ parameters["W"]
    written = made["gamma"] * torch.complex(written[..., :H], written[..., H : 2 * H])
    closed = eigenvalues**9 * torch.complex(*state[1:])
    closed = closed + sum(eigenvalues ** (8 - t) * written[t] for t in range(9))
    _, (_, a, b) = run("lru", parameters, state, inputs)
    assert_close(a, closed.real)
    assert_close(b, closed.imag)


def test_the_eigenvalues_of_lru_start_on_a_ring_with_inputs_that_keep_a_states_size():
    """Moduli between 0.9 and 0.999, phases all around, and gamma^2 = 1 - |lambda|^2."""
    none = {name: torch.zeros(1, 64, dtype=torch.float64) for name in ("nu", "theta", "gamma")}
    made = cells.find("lru").prepared(none)
    eigenvalues = torch.complex(made["nu"], made["theta"])[0]
    assert 0.9 < eigenvalues.abs().min() < 0.902 and 0.998 < eigenvalues.abs().max() < 0.999
    turns = torch.sort(eigenvalues.angle() % (2 * torch.pi)).values
    assert turns.diff().max() < 2 * torch.pi / 64 * 2.1
    assert_close(
        made["gamma"][0] ** 2 + eigenvalues.abs() ** 2, torch.ones(64, dtype=torch.float64)
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("unicornn", "tanh of h"),
        ("rwkv-4", "it has a recurrent product, R"),
        ("lru", "it has a recurrent product, C_re"),
        ("exprnn", "it has a recurrent product, R"),
    ],
)
def test_a_scan_says_why_it_does_not_run_a_cell_of_these(name, reason):
    refusal = get("scan").refusal(cells.find(name), "cpu", "float32")
    assert refusal == f"{name} is not linear in its state: {reason}"
