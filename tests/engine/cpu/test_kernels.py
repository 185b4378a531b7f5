"""The products of products.cpp beside torch's, and what moves rows between them."""

import pytest
import torch

from harness.engine.cpu.compiler import ROUND
from harness.engine.cpu.memory import padded, row_length
from harness.engine.cpu.products import PLAIN, products

ROWS = ROUND


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


def unwritten(*shape, dtype):
    return torch.full(shape, torch.nan, dtype=dtype)


def assert_near(got, expected, terms):
    """Within the rounding of a sum of so many terms of size 1."""
    bound = 4 * torch.finfo(got.dtype).eps * (1 + terms)
    assert got.shape == expected.shape
    assert ((got.double() - expected).abs() < bound).all()


def with_padding(blocks, dtype):
    """(K, blocks, H) in rows of whole vectors, the padding full of NaN."""
    found = unwritten(*blocks.shape[:-1], padded(blocks.shape[-1]), dtype=dtype)
    found[..., : blocks.shape[-1]] = blocks
    return found


SHAPES = [
    (1, 1, 1, 1),
    (2, 3, 1, 7),
    (3, 17, 4, 16),
    (5, 40, 3, 33),
    (13, 8, 2, 48),
    (40, 5, 1, 19),
    (33, 31, 4, 5),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("M", "K", "blocks", "H"), SHAPES)
def test_a_packed_product(M, K, blocks, H, dtype):
    """(M, K) times the gates of a (K, blocks * H); each gate's columns end on a whole vector."""
    kernels, S = products(PLAIN[dtype]), padded(H)
    a, b = random(M, K + 3, dtype=dtype), random(K, blocks * H + 2, seed=1, dtype=dtype)
    packed = unwritten(K, blocks * S, dtype=dtype)
    kernels.pack(K, blocks, H, H, S, b.data_ptr(), blocks * H + 2, packed.data_ptr())
    expected = (a[:, :K].double() @ b[:, : blocks * H].double()).view(M, blocks, H)
    found = []
    for threads in (1, 2, 5):
        c = unwritten(M, blocks * S + 16, dtype=dtype)
        kernels.product_on_threads(
            M,
            blocks * S,
            K,
            1,
            a.data_ptr(),
            K + 3,
            0,
            packed.data_ptr(),
            c.data_ptr(),
            blocks * S + 16,
            threads,
        )
        assert c[:, blocks * S :].isnan().all()  # what lies beside is not touched
        found.append(c[:, : blocks * S].reshape(M, blocks, S)[..., :H])
    assert_near(found[0], expected, K)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("M", "K"), [(1, 700), (35, 700), (130, 100)])
def test_threads_share_the_rows_of_a_product_or_its_blocks(M, K, dtype):
    """Three blocks of 250, which are many operations; rows for one thread, for two, for none."""
    kernels, S = products(PLAIN[dtype]), padded(250)
    a, b = random(M, K, dtype=dtype), random(K, 750, seed=1, dtype=dtype)
    found = []
    for threads in (1, 2, 5):
        packed, c = unwritten(K, 3 * S, dtype=dtype), unwritten(M, 3 * S + 16, dtype=dtype)
        kernels.multiply(
            M, K, 3, 250, S, a.data_ptr(), b.data_ptr(), packed.data_ptr(), c.data_ptr(),
            3 * S + 16, threads,
        )  # fmt: skip
        assert c[:, 3 * S :].isnan().all()
        found.append(c[:, : 3 * S].reshape(M, 3, S)[..., :250])
    assert_near(found[0], (a.double() @ b.double()).view(M, 3, 250), K)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", range(1, 41))
def test_a_row_of_a_product_is_the_same_bit_for_bit_whatever_stands_beside_it(rows, dtype):
    kernels, K, N = products(PLAIN[dtype]), 37, 48
    a, b = random(40, K, dtype=dtype), random(K, N, seed=1, dtype=dtype)
    packed = unwritten(K, N, dtype=dtype)
    kernels.pack(K, 1, N, N, N, b.data_ptr(), N, packed.data_ptr())

    def product(first, count):
        c = unwritten(count, N, dtype=dtype)
        kernels.product_on_threads(
            count, N, K, 1, a[first].data_ptr(), K, 0, packed.data_ptr(), c.data_ptr(), N, 1
        )
        return c

    whole = product(0, 40)
    assert torch.equal(product(0, rows), whole[:rows])
    assert torch.equal(product(40 - rows, rows), whole[40 - rows :])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("M", "N", "segments", "K"), SHAPES)
def test_a_product_with_a_transposed_matrix(M, N, segments, K, dtype):
    """The gates' cotangents (M, segments * K), on rows of whole vectors, times the transposed (N,
    segments * K).
    """
    kernels, S, wide = products(PLAIN[dtype]), padded(K), padded(N)
    cotangents, matrix = (
        random(M, segments, K, dtype=dtype),
        random(N, segments * K, seed=1, dtype=dtype),
    )
    a = with_padding(cotangents, dtype)
    packed = unwritten(segments * K, wide, dtype=dtype)
    kernels.pack_transposed(N, segments, K, matrix.data_ptr(), segments * K, packed.data_ptr())
    expected = cotangents.reshape(M, -1).double() @ matrix.double().t()
    found = []
    for threads in (1, 3):
        c = unwritten(M, wide, dtype=dtype)
        kernels.product_on_threads(
            M,
            wide,
            K,
            segments,
            a.data_ptr(),
            segments * S,
            S,
            packed.data_ptr(),
            c.data_ptr(),
            wide,
            threads,
        )
        found.append(c[:, :N])
    assert_near(found[0], expected, segments * K)
    assert torch.equal(found[0], found[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("K", "M", "blocks", "H"), [*SHAPES, (300, 9, 2, 20), (257, 33, 1, 7), (1, 40, 1, 1)]
)
def test_an_outer_product_and_its_sum_with_another(K, M, blocks, H, dtype):
    """A^T B over K rows, more than one pass holds too, B on rows of whole vectors; then the same
    added.
    """
    kernels, width = products(PLAIN[dtype]), blocks * padded(H)
    a, gates = random(K, M + 1, dtype=dtype), random(K, blocks, H, seed=1, dtype=dtype)
    b = with_padding(gates, dtype)
    expected = (a[:, :M].double().t() @ gates.reshape(K, -1).double()).view(M, blocks, H)
    found = []
    for threads in (1, 2, 3):
        c = unwritten(M, width, dtype=dtype)
        arguments = (M, width, K, a.data_ptr(), M + 1, b.data_ptr(), width, c.data_ptr(), width)
        kernels.outer(*arguments, 0, threads)
        once = c.view(M, blocks, -1)[..., :H].clone()
        kernels.outer(*arguments, 1, threads)
        found.append((once, c.view(M, blocks, -1)[..., :H]))
    assert_near(found[0][0], expected, K)
    assert_near(found[0][1], 2 * expected, 2 * K)
    assert all(
        torch.equal(a, b) for other in found[1:] for a, b in zip(other, found[0], strict=True)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("rows", "V", "blocks", "H"), [(1, 1, 1, 1), (50, 7, 3, 5), (200, 3, 4, 17), (9, 40, 2, 16)]
)
def test_rows_are_scattered_to_their_tokens(rows, V, blocks, H, dtype):
    kernels, S = products(PLAIN[dtype]), padded(H)
    values, tokens = (
        random(rows, blocks, H, dtype=dtype),
        torch.randint(V, (rows,), generator=torch.Generator().manual_seed(2)),
    )
    source = with_padding(values, dtype)
    expected = torch.zeros(V, blocks, H, dtype=torch.float64).index_add_(0, tokens, values.double())
    found = []
    for threads in (1, 2, 3):
        table = unwritten(V, blocks, H, dtype=dtype)
        arguments = (
            rows,
            V,
            blocks,
            H,
            S,
            tokens.data_ptr(),
            source.data_ptr(),
            blocks * S,
            table.data_ptr(),
        )
        for part in range(threads):
            kernels.scatter_part(*arguments, 0, part, threads)
        once = table.clone()
        for part in range(threads):
            kernels.scatter_part(*arguments, 1, part, threads)
        found.append((once, table))
    assert_near(found[0][0], expected, rows)
    assert_near(found[0][1], 2 * expected, 2 * rows)
    assert all(
        torch.equal(a, b) for other in found[1:] for a, b in zip(other, found[0], strict=True)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "N"), [(1, 16), (7, 48), (50, 160)])
def test_columns_are_summed_and_added_to_what_was_there(rows, N, dtype):
    values = random(rows, N + 3, dtype=dtype)
    found = []
    for parts in (1, 2, 5):
        sums = unwritten(N, dtype=dtype)
        for add in (0, 1):
            for part in range(parts):
                products(PLAIN[dtype]).sum_part(
                    rows, N, values.data_ptr(), N + 3, sums.data_ptr(), add, part, parts
                )
        found.append(sums)
    assert_near(found[0], 2 * values[:, :N].double().sum(0), 2 * rows)
    assert all(torch.equal(other, found[0]) for other in found)


def test_the_first_index_that_lies_outside_is_found():
    kernels = products(PLAIN[torch.float32])

    def first_outside(*indices):
        given = torch.tensor(indices, dtype=torch.int64)
        return kernels.first_outside(len(indices), given.data_ptr(), 7)

    assert [
        first_outside(0, 6, 3),
        first_outside(0, 7, 9),
        first_outside(6, 2, -1),
        first_outside(),
    ] == [-1, 1, 2, -1]


def test_numbers_that_are_none_go_in_and_come_out():
    kernels = products(PLAIN[torch.float64])
    a, b = random(3, 16), random(16, 16, seed=1)
    a[1, 4] = torch.inf
    b[7, 2] = torch.nan
    packed, c = unwritten(16, 16, dtype=torch.float64), unwritten(3, 16, dtype=torch.float64)
    kernels.pack(16, 1, 16, 16, 16, b.data_ptr(), 16, packed.data_ptr())
    kernels.product_on_threads(
        3, 16, 16, 1, a.data_ptr(), 16, 0, packed.data_ptr(), c.data_ptr(), 16, 1
    )
    torch.testing.assert_close(c, a @ b, equal_nan=True)


@pytest.mark.parametrize("itemsize", [4, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_buffers_row_is_whole_vectors_and_crowds_no_set_of_the_cache(itemsize, dtype):
    assert ROWS % products(PLAIN[dtype]).lanes() == 0
    for blocks in (1, 2, 3, 4):
        for size in (1, 16, 33, 128, 256, 512):
            length = row_length(blocks, size, itemsize)
            assert length >= blocks * size and length % ROWS == 0
            assert length * itemsize % 2048 != 0
