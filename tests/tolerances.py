"""How near is equal: dtype -> (rtol, atol). Tests compare with these and with nothing looser."""

import torch

TOLERANCES: dict[torch.dtype, tuple[float, float]] = {
    torch.float64: (1e-10, 1e-10),
    # Sums in another order: a float32 product over 100 terms, then tens of time steps, differs by
    # some 1e-6 relative.
    torch.float32: (1e-5, 1e-5),
}


def assert_close(actual: torch.Tensor, expected: torch.Tensor, message: str = "") -> None:
    """Fails where the two differ by more than their dtype's row, in shape, in dtype, or in a
    NaN.
    """
    rtol, atol = TOLERANCES[expected.dtype]
    torch.testing.assert_close(
        actual, expected, rtol=rtol, atol=atol, msg=(lambda m: f"{message}: {m}")
    )
