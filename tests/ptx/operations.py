"""What the instructions compute, on an array with a number of each thread.

Numbers are rounded as PTX says but for two things: a fused multiply-add in double goes through 80
bits, and the functions that a device approximates are exact here.
"""

from collections.abc import Callable

import numpy as np

from ptx.program import Instruction, PtxError

TYPES: dict[str, type] = {
    "pred": np.bool_,
    **{f"{kind}8": np.uint8 for kind in "bu"},
    **{f"{kind}16": np.uint16 for kind in "bu"},
    **{f"{kind}32": np.uint32 for kind in "bu"},
    **{f"{kind}64": np.uint64 for kind in "bu"},
    "s8": np.int8,
    "s16": np.int16,
    "s32": np.int32,
    "s64": np.int64,
    "f32": np.float32,
    "f64": np.float64,
}
Values = np.ndarray
Function = Callable[..., Values]

UNORDERED = {"equ": "eq", "neu": "ne", "ltu": "lt", "leu": "le", "gtu": "gt", "geu": "ge"}
SAME = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}
COMPARISONS: dict[str, Function] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}


ROUNDED = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
"""To whole numbers."""
DIRECTED = ("rm", "rz", "rp")
BFLOAT16 = ("bf16", "bf16x2")
UNDIRECTED = ("rn", "approx", "full", "ftz")
"""What changes a result by a rounding at most: small numbers are not made zero here."""


def types(instruction: Instruction) -> list[str]:
    """Returns the types that an instruction names, the result's first."""
    return [word for word in instruction.modifiers if word in TYPES]


def bits(kind: str) -> int:
    """Returns the size of a type."""
    return 8 * np.dtype(TYPES[kind]).itemsize


def function(instruction: Instruction) -> tuple[Function, str, list[str]]:
    """Returns what an instruction computes, the type of its result, and those of its operands.

    Raises:
        PtxError: It is unknown.
    """
    name, words = instruction.operation, instruction.modifiers
    if {*words} - {*TYPES, *UNDIRECTED, *_own_words(name)}:
        raise PtxError(f"an instruction must be known, but got {instruction.text!r}.")
    named = types(instruction)
    result = taken = named[-1] if named else "pred"
    if name == "setp":
        return _comparison(words[0], taken), "pred", [taken, taken]
    if name == "selp":
        return lambda a, b, p: np.where(p, a, b), result, [taken, taken, "pred"]
    if name == "cvt" and {*words} & {*BFLOAT16}:
        return _to_bfloat16(instruction)
    if name == "cvt":
        return _conversion(words, named[0], named[1]), named[0], [named[1]]
    if name in ("shl", "shr"):
        return _shift(name, bits(taken)), result, [taken, "u32"]
    if name == "bfe":
        return _extraction(taken), result, [taken, "u32", "u32"]
    if name == "bfi":
        return _insertion(taken), result, [taken, taken, "u32", "u32"]
    if name in ("mul", "mad") and words[0] in ("wide", "hi"):
        return _wide(name, words[0], taken)
    if name in ("min", "max") and "NaN" in words:
        return (np.minimum if name == "min" else np.maximum), result, [taken, taken]
    if words[:1] and words[0] in DIRECTED:
        return _directed(name, words[0]), result, [taken] * (3 if name == "fma" else 2)
    table = FLOATS if taken in ("f32", "f64") else INTEGERS
    if name not in table:
        raise PtxError(f"an instruction must be known, but got {instruction.text!r}.")
    made, count = table[name]
    return made, result, [taken] * count


def _own_words(name: str) -> tuple[str, ...]:
    """Returns the modifiers of an instruction that mean something here, beside all its types."""
    if name == "setp":
        return ("nan", "num", *COMPARISONS, *UNORDERED, *SAME)
    if name == "cvt":
        return ("sat", *ROUNDED, *BFLOAT16)
    if name in ("mul", "mad"):
        return ("lo", "hi", "wide", *(DIRECTED if name == "mul" else ()))
    if name in ("min", "max"):
        return ("NaN",)
    return DIRECTED if name in ("fma", "add", "sub") else ()


def _comparison(name: str, kind: str) -> Function:
    if name in ("nan", "num"):
        return lambda a, b: (np.isnan(a) | np.isnan(b)) == (name == "nan")
    compare = COMPARISONS[UNORDERED.get(name, SAME.get(name, name))]
    if kind not in ("f32", "f64"):
        return compare
    is_unordered = name in UNORDERED
    return lambda a, b: np.where(np.isnan(a) | np.isnan(b), is_unordered, compare(a, b))


def _conversion(words: tuple[str, ...], result: str, taken: str) -> Function:
    into = TYPES[result]
    if "sat" in words:
        if (result, taken) != ("f32", "f32"):
            raise PtxError(f"only f32 is known to be cut to 0 to 1, but got {result} of {taken}.")
        return lambda a: np.where(np.isnan(a), 0, np.clip(a, 0, 1)).astype(into)
    if taken in ("f32", "f64"):
        made = next((ROUNDED[word] for word in words if word in ROUNDED), None)
        if result not in ("f32", "f64"):
            assert made is not None
            return lambda a: _whole(made(a), result, taken)
        return (lambda a: a.astype(into)) if made is None else lambda a: made(a).astype(into)
    return lambda a: a.astype(into)


def _to_bfloat16(instruction: Instruction) -> tuple[Function, str, list[str]]:
    """Rounds a float32 to bfloat16, or two to a word, the first of which becomes its upper half."""
    if instruction.modifiers == ("rn", "bf16", "f32"):
        return bfloat16, "u16", ["f32"]
    if instruction.modifiers == ("rn", "bf16x2", "f32"):

        def both(upper: Values, lower: Values) -> Values:
            return bfloat16(upper).astype(np.uint32) << np.uint32(16) | bfloat16(lower)

        return both, "u32", ["f32", "f32"]
    raise PtxError(f"an instruction must be known, but got {instruction.text!r}.")


def bfloat16(a: Values) -> Values:
    """Returns the halves that hold a float32 rounded to nearest, ties to even."""
    words = np.ascontiguousarray(a).view(np.uint32).astype(np.uint64)
    return np.where(np.isnan(a), 0x7FFF, words + 0x7FFF + (words >> 16 & 1) >> 16).astype(np.uint16)


def _whole(rounded: Values, result: str, taken: str) -> Values:
    """Returns whole numbers as integers, the nearest where they lie outside of the type."""
    into = TYPES[result]
    most, least = np.iinfo(into).max, np.iinfo(into).min
    is_inside = (rounded >= least) & (rounded < np.ldexp(1.0, int(most).bit_length()))
    outside = np.where(rounded > 0, into(most), into(least))
    is_wide = taken == "f64" or bits(result) == 64
    none = into(1 << bits(result) - 1) if is_wide and result[0] == "u" else into(least * is_wide)
    inside = np.where(is_inside, rounded, 0).astype(into)
    return np.where(np.isnan(rounded), none, np.where(is_inside, inside, outside))


def _shift(name: str, width: int) -> Function:
    if name == "shl":
        return lambda a, n: np.where(n < width, a << (n % width).astype(a.dtype), 0).astype(a.dtype)
    # Of a negative number all bits are its sign in the end.
    return lambda a, n: np.where(
        n < width,
        a >> (n % width).astype(a.dtype),
        a >> a.dtype.type(width - 1) if a.dtype.kind == "i" else 0,
    ).astype(a.dtype)


def _extraction(kind: str) -> Function:
    """Takes some bits of a number; of a signed one the highest is the sign."""
    width = bits(kind)

    def extract(a: Values, start: Values, count: Values) -> Values:
        start, count = start & 255, count & 255
        rest = _shift("shr", width)(a, start)
        surplus = (width - np.clip(count, 1, width)).astype(a.dtype)
        return np.where(count == 0, 0, (rest << surplus) >> surplus).astype(a.dtype)

    return extract


def _insertion(kind: str) -> Function:
    """Puts the lowest bits of a number into another one."""
    shift = _shift("shl", bits(kind))

    def insert(a: Values, b: Values, start: Values, count: Values) -> Values:
        start, count, one = start & 255, count & 255, np.ones_like(a)
        mask = shift(shift(one, count) - one, start)
        return (shift(a, start) & mask) | (b & ~mask)

    return insert


def _wide(name: str, part: str, kind: str) -> tuple[Function, str, list[str]]:
    width = bits(kind)
    if part == "hi" and width == 64:

        def high(a: Values, b: Values) -> Values:
            exact = a.astype(object) * b.astype(object)
            return np.array(exact >> 64, dtype=object).astype(TYPES[kind])

        return high, kind, [kind, kind]
    wide = f"{kind[0]}{2 * width}"

    def product(a: Values, b: Values) -> Values:
        return a.astype(TYPES[wide]) * b.astype(TYPES[wide])

    if part == "hi":
        return (
            lambda a, b: (product(a, b) >> TYPES[wide](width)).astype(TYPES[kind]),
            kind,
            [kind] * 2,
        )
    if name == "mad":
        return lambda a, b, c: product(a, b) + c, wide, [kind, kind, wide]
    return product, wide, [kind, kind]


def _directed(name: str, direction: str) -> Function:
    """Rounds a float32 down (``rm``), up (``rp``) or to zero (``rz``)."""

    def exact(a: Values, b: Values, *c: Values) -> Values:
        a, b = a.astype(np.longdouble), b.astype(np.longdouble)
        if name == "fma":
            return a * b + c[0]
        return {"add": a + b, "sub": a - b, "mul": a * b}[name]

    def call(*given: Values) -> Values:
        value = exact(*given)
        near = value.astype(given[0].dtype)
        is_over = {
            "rm": near > value,
            "rp": near < value,
            "rz": np.abs(near) > np.abs(value),
        }[direction]
        towards = {"rm": -np.inf, "rp": np.inf, "rz": 0}[direction]
        return np.where(is_over, np.nextafter(near, near.dtype.type(towards)), near)

    return call


def fused(a: Values, b: Values, c: Values) -> Values:
    """Returns a * b + c, rounded once from a wider type."""
    wide = np.float64 if a.dtype == np.float32 else np.longdouble
    return (a.astype(wide) * b + c).astype(a.dtype)


def _reciprocal(a: Values) -> Values:
    return (1 / a).astype(a.dtype)


FLOATS: dict[str, tuple[Function, int]] = {
    "add": (np.add, 2),
    "sub": (np.subtract, 2),
    "mul": (np.multiply, 2),
    "div": (np.divide, 2),
    "fma": (fused, 3),
    "min": (np.fmin, 2),
    "max": (np.fmax, 2),
    "neg": (np.negative, 1),
    "abs": (np.abs, 1),
    "sqrt": (np.sqrt, 1),
    "rsqrt": (lambda a: _reciprocal(np.sqrt(a)), 1),
    "rcp": (_reciprocal, 1),
    "ex2": (np.exp2, 1),
    "lg2": (np.log2, 1),
    "sin": (np.sin, 1),
    "cos": (np.cos, 1),
    "tanh": (np.tanh, 1),
    "copysign": (lambda a, b: np.copysign(b, a), 2),
    "mov": (lambda a: a, 1),
}
INTEGERS: dict[str, tuple[Function, int]] = {
    "add": (np.add, 2),
    "sub": (np.subtract, 2),
    "mul": (np.multiply, 2),
    "mad": (lambda a, b, c: a * b + c, 3),
    "min": (np.minimum, 2),
    "max": (np.maximum, 2),
    "neg": (np.negative, 1),
    "abs": (np.abs, 1),
    "and": (np.bitwise_and, 2),
    "or": (np.bitwise_or, 2),
    "xor": (np.bitwise_xor, 2),
    "not": (np.invert, 1),
    "mov": (lambda a: a, 1),
    "prmt": (lambda a, b, c: permuted(a, b, c), 3),
}


def permuted(a: Values, b: Values, selected: Values) -> Values:
    """Returns words of four bytes, which a digit each selects: 0 to 3 of a, 4 to 7 of b.

    A digit of 8 and more selects the sign of a byte, eight times.
    """
    given = np.stack([a, b], axis=-1).view(np.uint8)
    result = np.empty((len(a), 4), np.uint8)
    for k in range(4):
        digit = (selected >> np.uint32(4 * k)) & np.uint32(15)
        byte = np.take_along_axis(given, (digit & 7).astype(np.int64)[:, None], axis=-1)[:, 0]
        result[:, k] = np.where(digit < 8, byte, (byte >> 7) * 255)
    return result.view(np.uint32)[:, 0]


def product(a: Values, b: Values, numbers: Callable[[Values], Values]) -> Values:
    """Returns the sums of ``mma.m16n8k8`` of warps, or of ``mma.m16n8k16``, two numbers a word.

    Args:
        a: (warps, 32, 4), what each lane has of 16 x 8 words.
        b: (warps, 32, 2), of 8 x 8.
        numbers: Makes the numbers of words, which follow one another in a sum.

    Returns:
        (warps, 32, 4), of 16 x 8.
    """
    left = np.empty((len(a), 16, 8), np.uint32)
    right = np.empty((len(a), 8, 8), np.uint32)  # a row is a column of the factor
    group, member = np.divmod(np.arange(32), 4)
    for i in range(4):
        left[:, group + i % 2 * 8, member + i // 2 * 4] = a[:, :, i]
    for i in range(2):
        right[:, group, member + i * 4] = b[:, :, i]
    sums = numbers(left) @ numbers(right).swapaxes(1, 2)
    parts = [sums[:, group + i // 2 * 8, 2 * member + i % 2] for i in range(4)]
    return np.stack(parts, axis=-1)


def of_tf32(words: Values) -> Values:
    """Returns the numbers of words, one of each."""
    return (words & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)


def of_bfloat16(words: Values) -> Values:
    """Returns the numbers of words, two of each, the lower half first."""
    wide = words.view(np.uint16).astype(np.uint32) << np.uint32(16)
    return wide.view(np.float32).astype(np.float64)
