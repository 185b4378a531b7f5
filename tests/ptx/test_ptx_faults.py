"""What a device would not forgive is told, and what it does forgive is not."""

import numpy as np
import pytest

from ptx.counts import Counts
from ptx.memory import Fault
from ptx.program import PtxError
from ptx.small_kernels import THREADS, run

OWN = """
    mov.u64 %rd10, shared;
    mad.wide.u32 %rd11, %r1, 4, %rd10;
    xor.b32 %r2, %r1, 1;
    mad.wide.u32 %rd12, %r2, 4, %rd10;
"""
"""%rd11 is where a thread's word lies in shared memory, %rd12 that of its neighbour."""
PEERS = """
    cvta.shared.u64 %rd13, %rd11;
    mov.u32 %r3, %ctaid.x;
    xor.b32 %r4, %r3, 1;
    mapa.u64 %rd14, %rd13, %r4;
"""
"""%rd14 is the word of the same thread of the other block."""
MEET = "barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;\n"
TWO_BLOCKS = {"directives": ".reqnctapercluster 2, 1, 1", "grid": (2, 1, 1)}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "ld.global.u64 %rd20, [%rd1+1024];",
            r"array 0 must hold the address, but got offset=1024",
        ),
        ("ld.global.u64 %rd20, [%rd1+-8];", "must belong to a tensor"),
        ("ld.global.v2.u64 {%rd20, %rd21}, [%rd1];", "of 16 bytes must be aligned, but got 8"),
        (f"{OWN}st.shared.u32 [%rd11+960], %r1;", "shared memory of block 0 must hold"),
        ("trap;", "the kernel ends itself"),
        (f"{OWN}mapa.u64 %rd14, %rd11, %r1;", "mapa must get an address in shared memory"),
    ],
)
def test_addresses(body, message):
    with pytest.raises(Fault, match=message):
        run(body, np.zeros(2 * THREADS - 16, np.int64))


def test_threads_that_meet_need_a_barrier_between_them():
    text = f"{OWN}st.shared.u32 [%rd11], %r1;\nBARRIER\nld.shared.u32 %r5, [%rd12];"
    run(text.replace("BARRIER", "bar.sync 0;"))
    with pytest.raises(Fault, match=r"word 1: a barrier .* thread 0 reads what thread 1 writes"):
        run(text.replace("BARRIER", ""))
    text = f"{OWN}ld.shared.u32 %r5, [%rd12];\nBARRIER\nst.shared.u32 [%rd11], %r1;"
    run(text.replace("BARRIER", "bar.sync 0;"))
    with pytest.raises(Fault, match="thread 0 writes what thread 1 reads"):
        run(text.replace("BARRIER", ""))
    run(f"{OWN}ld.shared.u32 %r5, [%rd10];\nld.shared.u32 %r5, [%rd11];")
    with pytest.raises(Fault, match="writes what several threads reads"):
        run(f"{OWN}ld.shared.u32 %r5, [%rd10];\nst.shared.u32 [%rd11], %r5;")
    with pytest.raises(Fault, match="word 0: .* writes what thread 63 writes"):
        run(f"{OWN}st.shared.u32 [%rd10], %r1;")


HALVES = """
    mov.u64 %rd10, shared;
    mad.wide.u32 %rd11, %r1, 2, %rd10;
    xor.b32 %r2, %r1, 1;
    mad.wide.u32 %rd12, %r2, 2, %rd10;
    and.b32 %r3, %r1, -2;
    mad.wide.u32 %rd13, %r3, 2, %rd10;
    cvt.u16.u32 %h1, %r1;
"""
"""%rd11 is where a thread's half of a word lies, %rd12 that of its neighbour, %rd13 the word."""
OF_HALVES = {"registers": ".reg .b16 %h<9>;"}


def test_threads_may_write_the_halves_of_a_word():
    write = f"{HALVES}st.shared.u16 [%rd11], %h1;\n"
    reads = "cvt.u64.u32 %rd20, %r5;\nst.global.u64 [%rd1], %rd20;"
    words = np.zeros(THREADS, np.int64)
    run(f"{write}bar.sync 0;\nld.shared.u32 %r5, [%rd13];\n{reads}", words, **OF_HALVES)
    assert list(words) == [(n | 1) << 16 | n & ~1 for n in range(THREADS)]
    with pytest.raises(Fault, match=r"half 1: a barrier .* thread 0 reads what thread 1 writes"):
        run(f"{write}ld.shared.u32 %r5, [%rd13];", **OF_HALVES)
    with pytest.raises(Fault, match=r"half 1: a barrier .* thread 0 writes what thread 1 writes"):
        run(f"{write}st.shared.u16 [%rd12], %h1;", **OF_HALVES)
    # Whoever has one half and writes the word meets who has the other.
    with pytest.raises(Fault, match="writes what thread 1 writes"):
        run(f"{HALVES}st.shared.u32 [%rd13], %r1;\nst.shared.u16 [%rd11], %h1;", **OF_HALVES)
    run(f"{write}ld.shared.u16 %h2, [%rd11];", **OF_HALVES)
    with pytest.raises(Fault, match="of 4 bytes must be aligned, but got 2"):
        run(f"{write}bar.sync 0;\nld.shared.u32 %r5, [%rd11];", **OF_HALVES)


def test_a_half_of_a_tensors_word_is_told():
    """Its places are words."""
    with pytest.raises(PtxError, match="array 0: an access must have 4 bytes, but got 2"):
        run("ld.global.u16 %h1, [%rd1];", np.zeros(THREADS, np.int64), **OF_HALVES)


def test_halves_of_a_word_are_had_at_once():
    """32 of them lie in 16 banks; of words two in a bank are had one after the other."""

    def cycles(offsets, size):
        counts, lanes = Counts(), np.arange(32)
        counts.access("ld", 0 * lanes, lanes, offsets, size)
        return counts.cycles["ld"], counts.least["ld"]

    lanes = np.arange(32)
    assert cycles(2 * lanes, 2) == (1, 1)
    assert cycles(128 * (lanes % 2) + 2 * lanes, 2) == (2, 1)
    assert cycles(4 * lanes, 4) == (1, 1)
    assert cycles(8 * lanes, 8) == (2, 2)


WARPS = f"{OWN}setp.lt.u32 %p1, %r1, 32;\nsetp.eq.u32 %p2, %r1, 32;\n"
"""%p1 holds in the first warp, %p2 in the first thread of the second one."""
ARRIVE, WAIT = MEET.splitlines()


@pytest.mark.parametrize(
    "body",
    [
        # It arrived before it read; that says nothing of the other warp, which did not.
        f"@%p1 ld.shared.u32 %r5, [%rd10];\n{ARRIVE}\n@%p2 ld.shared.u32 %r5, [%rd10];\n"
        f"@%p2 st.shared.u32 [%rd10], %r5;\n{WAIT}",
        # All read at once, but the first warp has arrived: it may read when others have waited.
        f"@%p1 {ARRIVE}\nld.shared.u32 %r5, [%rd10];\n@!%p1 {ARRIVE}\n{WAIT}\n"
        "@%p2 st.shared.u32 [%rd10], %r5;",
    ],
)
def test_who_arrived_may_still_read(body):
    with pytest.raises(Fault, match="thread 32 writes what .* reads"):
        run(WARPS + body)


def test_a_thread_that_ends_tells_nobody_what_it_did():
    body = f"{WARPS}@%p1 ld.shared.u32 %r5, [%rd10];\n@!%p1 st.shared.u32 [%rd11], %r1;\n"
    ends = "setp.eq.u32 %p3, %r1, 63;\n@%p3 ret;\n"
    reads = "@%p2 ld.shared.u32 %r5, [%rd10+HERE];"
    run(body + MEET + reads.replace("HERE", "252"))
    run(body + ends + MEET + reads.replace("HERE", "248"))
    with pytest.raises(Fault, match="thread 32 reads what thread 63 writes"):
        run(body + ends + MEET + reads.replace("HERE", "252"))


def test_who_reads_after_a_barrier_of_the_cluster_may_write():
    body = f"""{OWN}{PEERS}{MEET}
    setp.eq.u32 %p1, %r3, 0;
    @%p1 ld.u32 %r5, [%rd14];
    {MEET}
    @!%p1 ld.shared.u32 %r5, [%rd11];
    @!%p1 st.shared.u32 [%rd11], %r5;
    """
    run(body, **TWO_BLOCKS)


def test_what_lies_beside_a_tensor_is_nobodys():
    """Though another tensor lies there."""
    both = np.zeros((2, THREADS), np.int64)
    for offset, fault in ((8 * THREADS, "array 0 must hold"), (-8 * THREADS, "array 0|a tensor")):
        base = "%rd1" if offset > 0 else "%rd2"
        with pytest.raises(Fault, match=fault):
            run(f"ld.global.u64 %rd20, [{base}+{offset}];", both[0], both[1])


def test_a_tensor_itself_may_lie_where_nothing_long_is_aligned():
    numbers = np.zeros(2 * THREADS + 4, np.int32)
    start = next(k for k in range(4) if (numbers.ctypes.data // 4 + k) % 4 == 1)
    run("ld.global.u32 %r5, [%rd1];", numbers[start : start + 2 * THREADS])
    with pytest.raises(Fault, match="of 8 bytes must be aligned"):
        run("ld.global.u64 %rd20, [%rd1];", numbers[start : start + 2 * THREADS])


def test_so_do_threads_of_two_clusters_in_a_tensor():
    ours = "cvt.u64.u32 %rd20, %r1;\nst.global.u64 [%rd1], %rd20;"
    run(ours, np.zeros(THREADS, np.int64))
    with pytest.raises(Fault, match="thread 64 writes what thread 0 writes"):
        run(ours, np.zeros(THREADS, np.int64), grid=(2, 1, 1))
    run("ld.global.u64 %rd20, [%rd1];", np.zeros(THREADS, np.int64), grid=(2, 1, 1))


def sent(first=MEET, between=MEET, last=""):
    """Each thread writes into the other block, and reads what it got."""
    body = f"{first}st.u32 [%rd14], %r1;\n{between}ld.shared.u32 %r5, [%rd11];\n{last}"
    run(OWN + PEERS + body, **TWO_BLOCKS)


def test_blocks_that_meet_need_a_barrier_of_the_cluster():
    sent()
    with pytest.raises(Fault, match="thread 0 reads what thread 64 writes"):
        sent(between="bar.sync 0;", last=MEET)
    with pytest.raises(Fault, match="thread 0 reads what thread 64 writes"):
        sent(between="barrier.cluster.arrive.release;\n", last="barrier.cluster.wait.acquire;")


def test_another_block_must_have_begun_and_not_ended():
    with pytest.raises(Fault, match="another block may not have begun"):
        sent(first="")
    with pytest.raises(Fault, match="block 0 must not end before all others have done"):
        run(f"{OWN}{PEERS}{MEET}ld.u32 %r5, [%rd14];", **TWO_BLOCKS)


def test_a_cluster_may_arrive_do_its_own_work_and_wait():
    arrive, wait = ARRIVE, WAIT
    split = f"{arrive}\nst.shared.u32 [%rd11+512], %r1;\n{wait}\n"
    sent(between=split)
    with pytest.raises(Fault, match="must wait before it arrives again"):
        sent(between=f"{arrive}\n{arrive}\n{wait}\n")
    with pytest.raises(Fault, match="must arrive before it waits"):
        sent(between=f"{wait}\n")


def test_warps_must_be_together():
    body = "setp.lt.u32 %p1, %r1, 40;\n@%p1 bar.sync 0;"
    with pytest.raises(Fault, match="all threads of a warp must be together"):
        run(body)
    body = "setp.lt.u32 %p1, %r1, 32;\n@%p1 bar.sync 0;"
    with pytest.raises(Fault, match="threads wait for ever, .*'wait for their block': 32"):
        run(body)


def test_what_is_read_before_it_is_written_is_not_a_number():
    numbers = np.zeros(THREADS, np.float64)
    run("st.global.f64 [%rd1], %fd30;", numbers)
    assert np.isnan(numbers).all()
    numbers = np.zeros(2 * THREADS, np.float32)
    run(f"{OWN}ld.shared.f32 %f30, [%rd11];\nst.global.f32 [%rd1], %f30;", numbers)
    assert np.isnan(numbers[::2]).all()
