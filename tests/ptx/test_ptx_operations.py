"""What instructions compute, beside NumPy, and a product beside what Triton makes of it."""

import struct

import numpy as np
import pytest
import torch

from ptx.machine import launch
from ptx.memory import Device
from ptx.program import PtxError, programs
from ptx.small_kernels import THREADS, run

MOST = 2**31


def computed(text, kind, *given, registers=""):
    """What an instruction makes of arrays, whose numbers and result are of one type."""
    prefix = {"f32": "%f", "f64": "%fd", "u32": "%r", "s32": "%r", "u64": "%rd", "s64": "%rd"}[kind]
    loads = "\n".join(
        f"ld.global.{kind} {prefix}{10 + k}, [%rd{k + 1}];" for k in range(len(given))
    )
    names = {f"${k}": f"{prefix}{10 + k}" for k in range(len(given))} | {"$r": f"{prefix}20"}
    for short, name in names.items():
        text = text.replace(short, name)
    dtype = np.dtype(f"{kind[0]}{int(kind[1:]) // 8}".replace("s", "i"))
    padded = [np.zeros(8 // dtype.itemsize * THREADS, dtype) for _ in range(4)]
    step = 8 // dtype.itemsize
    for array, numbers in zip(padded, given, strict=False):
        array[::step] = np.resize(np.array(numbers, dtype), THREADS)
    body = f"{loads}\n{text}\nst.global.{kind} [%rd4], {prefix}20;"
    run(body, *padded, registers=registers)
    return padded[3][::step][: len(given[0])]


WHOLE = [0, 1, -1, 7, -8, MOST - 1, -MOST, 12345]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("add.s32 $r, $0, $1;", lambda a, b: a + b),
        ("sub.s32 $r, $0, $1;", lambda a, b: a - b),
        # As NVRTC 13.5 writes a scope, with an instruction before its end on the same line.
        (
            "{ .reg .b32 %tmp;\n  mov.b32 %tmp, $0;\n  add.s32 $r, %tmp, $1; }",
            lambda a, b: a + b,
        ),
        ("mul.lo.s32 $r, $0, $1;", lambda a, b: a * b),
        ("mul.hi.s32 $r, $0, $1;", lambda a, b: (a * b) >> 32),
        ("mad.lo.s32 $r, $0, $1, 5;", lambda a, b: a * b + 5),
        ("max.s32 $r, $0, $1;", max),
        ("min.s32 $r, $0, $1;", min),
        ("and.b32 $r, $0, $1;", lambda a, b: a & b),
        ("xor.b32 $r, $0, -1;", lambda a, b: ~a),
        ("not.b32 $r, $0;", lambda a, b: ~a),
        ("shl.b32 $r, $0, 3;", lambda a, b: a << 3),
        ("shr.s32 $r, $0, 3;", lambda a, b: a >> 3),
        ("shr.s32 $r, $0, 40;", lambda a, b: -1 if a < 0 else 0),
        ("shr.u32 $r, $0, 28;", lambda a, b: a % 2**32 >> 28),
        ("shl.b32 $r, $0, 32;", lambda a, b: 0),
        ("bfe.s32 $r, $0, 2, 3;", lambda a, b: ((a >> 2) % 8 + 4) % 8 - 4),
        ("bfe.u32 $r, $0, 28, 12;", lambda a, b: a % 2**32 >> 28),
        ("bfe.s32 $r, $0, 28, 12;", lambda a, b: a >> 28),
        ("bfe.u32 $r, $0, 40, 4;", lambda a, b: 0),
        ("bfe.s32 $r, $0, 40, 4;", lambda a, b: -1 if a < 0 else 0),
        ("bfe.u32 $r, $0, 3, 0;", lambda a, b: 0),
        ("bfi.b32 $r, $0, $1, 1, 31;", lambda a, b: (a << 1) | b & 1),
        ("bfi.b32 $r, $0, $1, 4, 8;", lambda a, b: b & ~0xFF0 | (a & 0xFF) << 4),
        ("bfi.b32 $r, $0, $1, 24, 60;", lambda a, b: b % 2**24 | a << 24),
        ("bfi.b32 $r, $0, $1, 40, 4;", lambda a, b: b),
        ("bfi.b32 $r, $0, $1, 4, 0;", lambda a, b: b),
        ("prmt.b32 $r, $0, $1, 0x1054;",
         lambda a, b: (a % 2**16 << 16) + b % 2**16),
        ("prmt.b32 $r, $0, $1, 0xb210;",
         lambda a, b: a % 2**24 + (255 << 24 if a < 0 else 0)),
        ("setp.lt.s32 %p1, $0, $1;\nselp.b32 $r, 1, 0, %p1;", lambda a, b: a < b),
        ("setp.lt.u32 %p1, $0, $1;\nselp.b32 $r, 1, 0, %p1;", lambda a, b: a % 2**32 < b % 2**32),
        ("cvt.s64.s32 %rd20, $0;\nshr.u64 %rd20, %rd20, 32;\ncvt.u32.u64 $r, %rd20;",
         lambda a, b: -1 if a < 0 else 0),
    ],
)  # fmt: skip
def test_whole_numbers(text, expected):
    others = WHOLE[3:] + WHOLE[:3]
    wanted = [int(expected(a, b)) % 2**32 for a, b in zip(WHOLE, others, strict=True)]
    assert [int(v) % 2**32 for v in computed(text, "s32", WHOLE, others)] == wanted


FLOATS = [0.0, -0.0, 1.5, -2.25, 1e-20, 3e20, np.inf, -np.inf, np.nan, 0.1]


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("add.KIND $r, $0, $1;", np.add),
        ("mul.KIND $r, $0, $1;", np.multiply),
        ("div.rn.KIND $r, $0, $1;", np.divide),
        ("max.KIND $r, $0, $1;", np.fmax),
        ("min.NaN.KIND $r, $0, $1;", np.minimum),
        ("neg.KIND $r, $0;", lambda a, b: -a),
        ("sqrt.rn.KIND $r, $0;", lambda a, b: np.sqrt(a)),
        ("rcp.rn.KIND $r, $0;", lambda a, b: 1 / a),
        ("copysign.KIND $r, $0, $1;", lambda a, b: np.copysign(b, a)),
        ("setp.lt.KIND %p1, $0, $1;\nselp.KIND $r, $0, $1, %p1;",
         lambda a, b: np.where(a < b, a, b)),
        ("setp.geu.KIND %p1, $0, $1;\nselp.KIND $r, $0, $1, %p1;",
         lambda a, b: np.where(a < b, b, a)),
        ("setp.ne.KIND %p1, $0, $1;\nselp.KIND $r, $0, $1, %p1;",
         lambda a, b: np.where((a < b) | (a > b), a, b)),
        ("setp.nan.KIND %p1, $0, $1;\nselp.KIND $r, $0, $1, %p1;",
         lambda a, b: np.where(np.isnan(a) | np.isnan(b), a, b)),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_floats(text, expected, kind):
    dtype = np.dtype(f"f{int(kind[1:]) // 8}")
    a, b = np.array(FLOATS, dtype), np.array(FLOATS[4:] + FLOATS[:4], dtype)
    np.testing.assert_array_equal(computed(text.replace("KIND", kind), kind, a, b), expected(a, b))


def test_a_fused_product_and_sum_is_rounded_once():
    a = np.array([1 + 2**-12], np.float32)
    exact = float(a[0]) ** 2 - 1
    (found,) = computed("fma.rn.f32 $r, $0, $0, 0fBF800000;", "f32", a)
    assert found == np.float32(exact) != np.float32(a[0] * a[0]) - 1


def test_sums_are_rounded_to_where_they_shall_be():
    a = np.array([1.0, -1.0], np.float32)
    tiny = np.array([2**-30, -(2**-30)], np.float32)
    above = np.nextafter(a, 2 * a)
    assert list(computed("add.rz.f32 $r, $0, $1;", "f32", a, tiny)) == list(a)
    assert list(computed("fma.rm.f32 $r, $0, 0f3F800000, $1;", "f32", a, tiny)) == [1, above[1]]


def test_a_number_outside_of_whole_ones_is_the_nearest_of_them():
    """What is not a number is zero, but the highest bit alone where 8 bytes take part."""
    outside = np.array([3e9, -3e9, np.nan, -7.5, 5e9], np.float32)

    def whole(kind, register, *moves):
        text = "\n".join([f"cvt.rzi.{kind}.f32 {register}, $0;", *moves, "mov.b32 $r, %r21;"])
        return [int(v) for v in computed(text, "f32", outside).view(np.uint32)]

    signed = [v % 2**32 for v in (MOST - 1, -MOST, 0, -7, MOST - 1)]
    assert whole("s32", "%r21") == signed
    assert whole("u32", "%r21") == [3_000_000_000, 0, 0, 0, 2**32 - 1]
    exact = [v % 2**64 for v in (3_000_000_000, -3_000_000_000, 2**63, -7, 5_000_000_000)]
    low, high = "mov.b64 {%r21, _}, %rd21;", "mov.b64 {_, %r21}, %rd21;"
    assert whole("s64", "%rd21", low) == [v % 2**32 for v in exact]
    assert whole("s64", "%rd21", high) == [v >> 32 for v in exact]


def bfloat16(numbers):
    """What torch makes of them, as the upper halves of words."""
    rounded = torch.from_numpy(np.array(numbers, np.float32)).to(torch.bfloat16)
    return rounded.view(torch.int16).numpy().view(np.uint16).astype(np.uint32)


BESIDE_BFLOAT16 = [
    *(1.0, -1.5, 0.1, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -(1 + 2**-8)),
    *(0.0, -0.0, 3.4e38, -3.4e38, np.inf, -np.inf, 1e-40, 2**-134, 3 * 2**-135),
]
"""Among them some between two of bfloat16, beyond the largest, and below the least normal one."""


def test_bfloat16_is_the_nearest_one():
    one = "cvt.rn.bf16.f32 %h1, $0;\nmov.b32 $r, {%h0, %h1};"
    halves = "mov.u16 %h0, 0;\n" + one
    numbers = np.array(BESIDE_BFLOAT16, np.float32)
    found = computed(halves, "f32", numbers, registers=".reg .b16 %h<9>;").view(np.uint32)
    np.testing.assert_array_equal(found >> 16, bfloat16(numbers))
    (none,) = computed(halves, "f32", [np.nan], registers=".reg .b16 %h<9>;")
    assert np.isnan(none)


def test_the_first_of_two_becomes_the_upper_half_of_a_word():
    upper, lower = BESIDE_BFLOAT16, BESIDE_BFLOAT16[5:] + BESIDE_BFLOAT16[:5]
    text = "cvt.rn.bf16x2.f32 %r20, $0, $1;\nmov.b32 $r, %r20;"
    found = computed(text, "f32", upper, lower).view(np.uint32)
    np.testing.assert_array_equal(found, bfloat16(upper) << 16 | bfloat16(lower))


def test_words_are_the_halves_of_a_long_one():
    numbers = [0x123456789ABCDEF0, 1]
    text = "mov.b64 {%r20, %r21}, $0;\nmov.b64 $r, {%r21, %r20};"
    assert [hex(v) for v in computed(text, "u64", numbers)] == ["0x9abcdef012345678", hex(1 << 32)]


def test_what_is_unknown_is_told():
    with pytest.raises(PtxError, match=r"must be known, but got 'popc.b32 %r2, %r1'"):
        run("popc.b32 %r2, %r1;")
    for one in (
        "add.sat.f32 %f2, %f1, %f1;",
        "add.cc.u32 %r2, %r1, %r1;",
        "cvt.rz.f32.f64 %f2, %fd1;",
        "cvt.rz.bf16.f32 %r2, %f1;",
        "add.bf16 %r2, %r1, %r1;",
    ):
        with pytest.raises(PtxError, match="an instruction must be known"):
            run(one)
    with pytest.raises(PtxError, match="an access must be known"):
        run("ld.global.nc.u64 %rd20, [%rd1];")
    with pytest.raises(PtxError, match="a barrier must be known"):
        run("bar.red.popc.u32 %r2, 0, %p1;")


def test_branches_part_threads_and_they_meet_again():
    """Odd threads take a way that stands behind what all do then; each loops as often as it is."""
    counts = np.zeros(THREADS, np.int64)
    run(
        """
    and.b32 %r2, %r1, 1;
    setp.eq.u32 %p1, %r2, 1;
    mov.u32 %r3, 0;
    @%p1 bra ODD;
MEET:
    bar.sync 0;
LOOP:
    setp.ge.u32 %p2, %r3, %r1;
    @%p2 bra DONE;
    add.u32 %r3, %r3, 1;
    bra LOOP;
ODD:
    mov.u32 %r3, 1000;
    bra MEET;
DONE:
    bar.sync 0;
    cvt.u64.u32 %rd20, %r3;
    st.global.u64 [%rd1], %rd20;
""",
        counts,
    )
    assert list(counts) == [1000 if n % 2 else n for n in range(THREADS)]


def test_threads_meet_in_a_loop_that_begins_behind_its_first_line():
    """A loop within a loop, which is entered at START; a way through it stands before that."""
    counts = np.zeros(THREADS, np.int64)
    run(
        """
    mov.u32 %r3, 0;
    mov.u32 %r4, 0;
    and.b32 %r2, %r1, 1;
    setp.eq.u32 %p1, %r2, 1;
OUTER:
    mov.u32 %r5, 0;
    bra START;
LAST_OF_ODD:
    add.u32 %r3, %r3, 100;
    bra MEET;
START:
    @%p1 bra ODD;
    bra MEET;
ODD:
    add.u32 %r3, %r3, 1;
    bra LAST_OF_ODD;
MEET:
    bar.sync 0;
    add.u32 %r5, %r5, 1;
    setp.lt.u32 %p2, %r5, 2;
    @%p2 bra START;
    add.u32 %r4, %r4, 1;
    setp.lt.u32 %p2, %r4, 3;
    @%p2 bra OUTER;
    cvt.u64.u32 %rd20, %r3;
    st.global.u64 [%rd1], %rd20;
""",
        counts,
    )
    assert list(counts) == [606 if n % 2 else 0 for n in range(THREADS)]


@pytest.mark.parametrize(("kind", "name"), [("tf32", "fp32"), ("bf16", "bf16")])
def test_a_product_of_tensor_cores_is_the_one_that_triton_means(kind, name):
    """Triton cuts a product into a warp's parts by a layout that we did not write."""
    triton = pytest.importorskip("triton")
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    def product(a, b, c, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
        m, n, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
        left = tl.load(a + m[:, None] * K + k[None, :])
        right = tl.load(b + k[:, None] * N + n[None, :])
        tl.store(c + m[:, None] * N + n[None, :], tl.dot(left, right, input_precision="tf32"))

    product.__globals__["tl"] = tl
    pointers = {"a": f"*{name}", "b": f"*{name}", "c": "*fp32"}
    sizes = dict(M=32, N=16, K=32)
    source = ASTSource(triton.jit(product), pointers, sizes)
    target = GPUTarget("cuda", 80, 32)
    made = triton.compile(source, target=target, options={"num_warps": 2})
    program = programs(made.asm["ptx"])["product"]
    assert f".{kind}.{kind}.f32" in made.asm["ptx"]
    random = np.random.default_rng(0)
    left, right = (
        random.standard_normal((32, 32), np.float32),
        random.standard_normal((32, 16), np.float32),
    )
    for operand in (left, right):
        operand.view(np.uint32)[...] &= 0xFFFFE000 if kind == "tf32" else 0xFFFF0000
    result, device = np.zeros((32, 16), np.float32), Device()
    given_as = {"tf32": lambda a: a, "bf16": lambda a: (a.view(np.uint32) >> 16).astype(np.uint16)}
    arrays = {name: given_as[kind](a) for name, a in {"left": left, "right": right}.items()}
    arrays["result"] = result
    addresses = [device.hold(array, name) for name, array in arrays.items()] + [0, 0]
    given = struct.pack("5q", *addresses)[: program.parameters[""]]
    launch(device, program, given, (1, 1, 1), 64, made.metadata.shared)
    np.testing.assert_allclose(result, left.astype(float) @ right, atol=1e-5)
