// Matrix products at the shapes of recurrence, and the sums around them, for one REAL and one rounding of operands.
//
// Every element of a result is one sum in the order of k, whatever the blocks, the rows beside it and the number of
// threads: so a run's numbers do not depend on its pack. (Of two bf16 numbers the second comes first: see operands.inc.)
#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "layer.h"

namespace {

// Memory of the calling thread, kept from call to call: fresh memory costs page faults.
real* scratch(std::vector<real>& memory, long size) {
  if ((long)memory.size() < size) memory.resize(size);
  return memory.data();
}

}  // namespace

#include "threads.inc"
#include "operands.inc"
#include "tiles.inc"

extern "C" {

long lanes() { return L; }

// The products that a sum takes in one instruction: 2 where the processor multiplies pairs of bf16 numbers.
long operands_at_once() { return GROUP; }

void lend(const Lent* of_torch) { lent = *of_torch; }

// K rows of ld with `blocks` blocks of H numbers, `apart` from one another -> panels of the (K, blocks * S), as items
// whose padding is zero.
void pack(long K, long blocks, long apart, long H, long S, const real* source, long ld, real* to) {
  const Panels panels(blocks * S);
  Item* packed = (Item*)to;
  for (long panel = 0; panel < panels.count; panel++) {
    const long n = panels.begin(panel), w = panels.width(panel);
    for (long q = 0; q < groups(K); q++, packed += w) {
      const long k = first_of(q, K);
      const bool two = GROUP == 2 && k + 1 < K;
      for (long i = 0; i < w; i += L) {
        const long block = (n + i) / S, j = (n + i) % S;  // S is a multiple of L: one block at a time
        const real *const from = source + k * ld + block * apart + j, *const next = two ? from + ld : from;
        __builtin_prefetch(from + w, 0, 2);  // rows lie pages apart: the next panel's part of this one
        const long count = std::max(0L, std::min(L, H - j));
        if (count == L) store_items(packed + i, joined(load(from), two ? load(next) : vec{}));
        else
          for (long u = 0; u < L; u++) packed[i + u] = u < count ? joined(from[u], two ? next[u] : 0) : Item(0);
      }
    }
  }
}

// The transposed of each (N, K) block of a (N, blocks * K): panels over N, then blocks, then k.
void pack_transposed(long N, long blocks, long K, const real* source, long ld, real* to) {
  const Panels panels(whole(N));
  Item* packed = (Item*)to;
  for (long panel = 0; panel < panels.count; panel++) {
    const long n = panels.begin(panel), w = panels.width(panel), real_rows = std::max(0L, std::min(w, N - n));
    for (long block = 0; block < blocks; block++)
      for (long k0 = 0; k0 < K; k0 += ROUND) {  // a whole number of pairs
        const long kn = std::min(ROUND, K - k0);
        Item row[ROUND];
        for (long i = 0; i < real_rows; i++) {
          const real* const from = source + (n + i) * ld + block * K + k0;
          __builtin_prefetch(from + 2 * ROUND, 0, 2);  // likewise, of this row
          items_of(from, kn, row);
          for (long q = 0; q < groups(kn); q++) packed[q * w + i] = row[q];
        }
        for (long q = 0; q < groups(kn); q++)
          for (long i = real_rows; i < w; i++) packed[q * w + i] = 0;
        packed += groups(kn) * w;
      }
  }
}

// C (M, N) = sum over segments of A_s (M, K) times packed B_s (K, N); A_s begins at a + s * stride. N is a multiple
// of ROUND.
void product(long M, long N, long K, long segments, const real* a, long lda, long stride, const real* from, real* c,
             long ldc) {
  const Panels panels(N);
  const Left left(M, K, segments, a, lda, stride);
  const Item* packed = (const Item*)from;
  const long Q = groups(K);
  for (long panel = 0, next; panel < panels.count; panel = next) {
    next = panels.end_of_width(panel);
    const long w = panels.width(panel), count = next - panel;
    if (w == 3 * L) of_width<3>(count, M, Q, segments, left.items, left.row, left.apart, packed, c, ldc);
    else if (w == 2 * L) of_width<2>(count, M, Q, segments, left.items, left.row, left.apart, packed, c, ldc);
    else of_width<1>(count, M, Q, segments, left.items, left.row, left.apart, packed, c, ldc);
    packed += count * segments * Q * w, c += count * w;
  }
}

// The same with the rows of A split over threads.
void product_on_threads(long M, long N, long K, long segments, const real* a, long lda, long stride,
                        const real* packed, real* c, long ldc, long threads) {
  const long blocks = (M + 63) / 64;
  threads = worthwhile(threads, blocks, 2.0 * M * N * K * segments);
  on_threads(threads, [=](long thread) {
    for (long i = part_begin(blocks, thread, threads); i < part_begin(blocks, thread + 1, threads); i++)
      product(std::min(64L, M - 64 * i), N, K, segments, a + 64 * i * lda, lda, stride, packed, c + 64 * i * ldc, ldc);
  });
}

// C (M, blocks * S) = A (M, K) times the (K, blocks * H), which is packed first. Threads share the rows of A, or the
// blocks where there are few rows.
void multiply(long M, long K, long blocks, long H, long S, const real* a, const real* b, real* packed, real* c, long ldc,
              long threads) {
  if (M >= 64 * threads) {
    pack(K, blocks, H, H, S, b, blocks * H, packed);
    return product_on_threads(M, blocks * S, K, 1, a, K, 0, packed, c, ldc, threads);
  }
  threads = worthwhile(threads, blocks, 2.0 * M * K * blocks * S);
  on_threads(threads, [=](long thread) {
    const long first = part_begin(blocks, thread, threads), count = part_begin(blocks, thread + 1, threads) - first;
    real* const own = packed + first * K * S;
    pack(K, count, H, H, S, b + first * H, blocks * H, own);
    product(M, count * S, K, 1, a, K, 0, own, c + first * S, ldc);
  });
}

// Rows of A^T, item by item, in blocks of TILE rows that begin `block` from one another.
static void pack_columns(long M, long K, const real* a, long lda, Item* to, long block) {
  for (long q = 0; q < groups(K); q++) {  // whole rows at a time, as memory likes to be read
    const long k = first_of(q, K);
    const bool two = GROUP == 2 && k + 1 < K;
    const real *const row = a + k * lda, *const next = row + lda;
    for (long m = 0; m < M; m += TILE) {
      Item* const items = to + m / TILE * block + q * TILE;
      const long count = std::min(TILE, M - m);
      // A length that the compiler knows is one or two moves, and else a call, which took three quarters of the time.
      if (!ROUNDED && count == TILE) std::memcpy(items, row + m, TILE * sizeof(real));
      else if (!ROUNDED) std::memcpy(items, row + m, count * sizeof(real));
      else
        for (long i = 0; i < count; i++) items[i] = joined(row[m + i], two ? next[m + i] : 0);
    }
  }
}

// A panel of w columns of B: where it lies, or rounded in `to`.
static const Item* right_side(long K, const real* b, long ldb, long w, Item* to) {
  if (!ROUNDED) return (const Item*)b;
  for (long q = 0; q < groups(K); q++) {
    const long k = first_of(q, K);
    const bool two = GROUP == 2 && k + 1 < K;
    const real* const row = b + k * ldb;
    for (long i = 0; i < w; i += L)
      store_items(to + q * w + i, joined(load(row + i), two ? load(row + ldb + i) : vec{}));
  }
  return to;
}

// C (M, N) = or += A^T B with A (K, M), B (K, N); N is a multiple of ROUND. A part of the columns. B is read where it
// lies, if nothing is rounded: it was written just before, and its rows are not a power of two apart.
void outer_part(long M, long N, long K, const real* a, long lda, const real* b, long ldb, real* c, long ldc, long add,
                long part, long parts) {
  const Panels panels(N);
  // Blocks of A are copied to lie k by k, each a little apart from a multiple of 4 KiB, at which all of them would
  // want the same set of the cache.
  const long block = TILE * groups(DEPTH) + ROUND, blocks = (M + TILE - 1) / TILE;
  thread_local std::vector<real> memory;
  Item* const left = (Item*)scratch(memory, blocks * block + (ROUNDED ? groups(DEPTH) * WIDE * L : 0));
  for (long k0 = 0; k0 < K; k0 += DEPTH) {
    const long depth = std::min(DEPTH, K - k0), Q = groups(depth);
    const bool more = add || k0 > 0;
    pack_columns(M, depth, a + k0 * lda, lda, left, block);
    for (long panel = part_begin(panels.count, part, parts); panel < part_begin(panels.count, part + 1, parts); panel++) {
      const long n = panels.begin(panel), w = panels.width(panel), row = ROUNDED ? w : ldb;
      const Item* const right = right_side(depth, b + k0 * ldb + n, ldb, w, left + blocks * block);
      if (w == 3 * L) columns<3>(M, Q, left, block, right, row, c + n, ldc, more);
      else if (w == 2 * L) columns<2>(M, Q, left, block, right, row, c + n, ldc, more);
      else columns<1>(M, Q, left, block, right, row, c + n, ldc, more);
    }
  }
}

void outer(long M, long N, long K, const real* a, long lda, const real* b, long ldb, real* c, long ldc, long add,
           long threads) {
  threads = worthwhile(threads, Panels(N).count, 2.0 * M * N * K);
  on_threads(threads, [=](long i) { outer_part(M, N, K, a, lda, b, ldb, c, ldc, add, i, threads); });
}

// Table row tokens[i] += row i, in the order of i. Rows hold blocks of S units, the table's V rows blocks of H; the
// table is zeroed first unless `add`. A part of the columns.
void scatter_part(long rows, long V, long blocks, long H, long S, const int64_t* tokens, const real* source, long ld,
                  real* table, long add, long part, long parts) {
  const long units = blocks * S / ROUND;
  const long begin = part_begin(units, part, parts) * ROUND, end = part_begin(units, part + 1, parts) * ROUND;
  for (long from = begin; from < end;) {  // one block at a time
    const long block = from / S, j = from % S, until = std::min(end, (block + 1) * S);
    const long count = std::max(0L, std::min(until - from, H - j)), at = block * H + j;
    for (long v = 0; v < V && !add; v++) std::memset(table + v * blocks * H + at, 0, count * sizeof(real));
    for (long i = 0; i < rows; i++) {
      const real* const own = source + i * ld + from;
      real* const to = table + tokens[i] * blocks * H + at;
      for (long u = 0; u < count; u++) to[u] += own[u];
    }
    from = until;
  }
}

// sums[n] = or += the sum of column n over rows, in their order; N is a multiple of ROUND. A part of the columns.
void sum_part(long rows, long N, const real* source, long ld, real* sums, long add, long part, long parts) {
  const long begin = part_begin(N / L, part, parts) * L, end = part_begin(N / L, part + 1, parts) * L;
  if (!add) std::memset(sums + begin, 0, (end - begin) * sizeof(real));
  for (long i = 0; i < rows; i++)
    for (long j = begin; j < end; j += L) store(sums + j, load(sums + j) + load(source + i * ld + j));
}

const Kernels* kernels() {
  static const Kernels all = {pack, pack_transposed, product, outer_part,
                              scatter_part, sum_part, together, meet};
  return &all;
}

// to[i] = hit where the draw from [0, 1) of key and first + i lies below rate, else miss; as harness/model/masks.py draws.
void draw(int64_t key, int64_t first, long count, double rate, double hit, double miss, real* to) {
  const double most = rate * 9007199254740992.0;  // 2^53: exact
  const real one = hit, other = miss;
  for (long i = 0; i < count; i++) {
    uint64_t z = (uint64_t)key + (uint64_t)(first + i) * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    to[i] = (double)(int64_t)(z >> 11) < most ? one : other;
  }
}

// Where the first index is that does not lie below size, or is negative; -1 where all do.
long first_outside(long count, const int64_t* indices, long size) {
  for (long i = 0; i < count; i++)
    if (indices[i] < 0 || indices[i] >= size) return i;
  return -1;
}

#include "readout.inc"
}
