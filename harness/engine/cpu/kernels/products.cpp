// Matrix products at the shapes of recurrence, and the sums around them, for one REAL.
//
// Every element of a result is one sum in the order of k, whatever the blocks, the rows beside it and the number of
// threads: so a run's numbers do not depend on its pack. The register tile is TILE rows x WIDE vectors of accumulators;
// at 8 x 3 a step of k takes 24 multiply-adds and 11 loads, at 6 x 2 it takes 12 and 8, so that the multipliers are the
// limit.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "layer.h"

// What a thread does while it waits awake.
static inline void rest() {
#if defined(__SSE__)
  __builtin_ia32_pause();
#endif
}

// Threads meet every few hundred microseconds: at first it is not worth sleeping.
class Meeting {
  const long count;
  std::atomic<long> waiting{0}, round{0};

public:
  explicit Meeting(long count) : count(count) {}
  void wait() {
    const long now = round.load(std::memory_order_acquire);
    if (waiting.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
      waiting.store(0, std::memory_order_relaxed);
      round.store(now + 1, std::memory_order_release);
    } else {
      for (long spins = 0; round.load(std::memory_order_acquire) == now; spins++)
        if (spins > 2000) std::this_thread::yield();
    }
  }
};

namespace {

#if VECTOR_BYTES == 64
constexpr long TILE = 8, WIDE = 3;  // 24 of 32 registers
#else
constexpr long TILE = 6, WIDE = 2;  // 12 of 16 registers; 4 x 3 takes all 16 with B's vectors and the row's value,
#endif                              // and a spill a step cost a quarter of the speed
static_assert(ROUND % L == 0, "a buffer's row is whole vectors");

// C (M rows, P panels of V vectors) += or = sum over k of a[m * row + k * step] * b[k * ldb], b being a row of V vectors.
// Panels begin `apart` from one another in B, and side by side in C.
template <int M, int V, int P = 1>
inline __attribute__((always_inline)) void tile(long K, const real* a, long row, long step, const real* b, long ldb,
                                                real* c, long ldc, bool add, long apart = 0) {
  vec sum[M][P * V];
#pragma GCC unroll 16
  for (int m = 0; m < M; m++)
#pragma GCC unroll 24
    for (int v = 0; v < P * V; v++) sum[m][v] = add ? load(c + m * ldc + v * L) : vec{};
#pragma GCC unroll 1
  for (long k = 0; k < K; k++) {
    vec x[P * V];
#pragma GCC unroll 24
    for (int v = 0; v < P * V; v++) x[v] = load(b + v / V * apart + k * ldb + v % V * L);
#pragma GCC unroll 16
    for (int m = 0; m < M; m++) {
      const real y = a[m * row + k * step];
#pragma GCC unroll 24
      for (int v = 0; v < P * V; v++) sum[m][v] += x[v] * y;
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < M; m++)
#pragma GCC unroll 24
    for (int v = 0; v < P * V; v++) store(c + m * ldc + v * L, sum[m][v]);
}

// The tile of M rows, of which the compiler knows each from 1 to TILE.
template <int V, int M = TILE>
inline void tile_of(long count, long K, const real* a, long row, long step, const real* b, long ldb, real* c, long ldc,
                    bool add) {
  if constexpr (M > 1)
    if (count < M) return tile_of<V, M - 1>(count, K, a, row, step, b, ldb, c, ldc, add);
  tile<M, V>(K, a, row, step, b, ldb, c, ldc, add);
}

// Likewise of so few rows that a panel alone would wait for its own sums: two panels side by side. More would be more
// places of memory to read at once, which is the limit then.
template <int V, int M = TILE / 2>
inline void low_tile_of(long count, long K, const real* a, long row, const real* b, long apart, real* c, long ldc,
                        bool add) {
  if constexpr (M > 1)
    if (count < M) return low_tile_of<V, M - 1>(count, K, a, row, b, apart, c, ldc, add);
  tile<M, V, 2>(K, a, row, 1, b, V * L, c, ldc, add, apart);
}

// All rows of a panel of V vectors, in tiles as even as can be: a low one would wait for its own sums. Row m of A
// begins at a + m * lda.
template <int V>
void rows(long M, long K, const real* a, long lda, const real* b, real* c, long ldc, bool add) {
  const long count = (M + TILE - 1) / TILE;
  for (long i = 0; i < count; i++) {
    const long m = part_begin(M, i, count), height = part_begin(M, i + 1, count) - m;
    tile_of<V>(height, K, a + m * lda, lda, 1, b, V * L, c + m * ldc, ldc, add);
  }
}

// Likewise of A^T, whose rows m lie packed in blocks of TILE, k by k; B lies where it was written.
template <int V>
void columns(long M, long K, const real* a, long block, const real* b, long ldb, real* c, long ldc, bool add) {
  for (long m = 0; m < M; m += TILE, a += block)
    tile_of<V>(std::min(TILE, M - m), K, a, 1, TILE, b, ldb, c + m * ldc, ldc, add);
}

// Panels of V vectors each, `count` of them: the product over all segments.
template <int V>
void of_width(long count, long M, long K, long segments, const real* a, long lda, long stride, const real* packed,
              real* c, long ldc) {
  const long segment = K * V * L, apart = segments * segment;
  for (long i = 0; i < count;) {
    const bool low = M > 0 && M <= TILE / 2 && i + 2 <= count;
    for (long s = 0; s < segments; s++) {
      const real *const from = a + s * stride, *const b = packed + i * apart + s * segment;
      if (low) low_tile_of<V>(M, K, from, lda, b, apart, c + i * V * L, ldc, s > 0);
      else rows<V>(M, K, from, lda, b, c + i * V * L, ldc, s > 0);
    }
    i += low ? 2 : 1;
  }
}

// N columns as panels of WIDE vectors or fewer, as even as can be: a narrow one would wait for its own sums.
struct Panels {
  long vectors, count;
  explicit Panels(long N) : vectors(N / L), count((vectors + WIDE - 1) / WIDE) {}
  long begin(long i) const { return (vectors / count * i + std::min(i, vectors % count)) * L; }
  long width(long i) const { return begin(i + 1) - begin(i); }
  // Where the panels that are as wide as panel i end: the first ones may be a vector wider.
  long end_of_width(long i) const { return i < vectors % count ? vectors % count : count; }
};

// So many threads as are worth their start.
long worthwhile(long threads, long count, double operations) {
  return std::max(1L, std::min({threads, count, (long)(operations / OPERATIONS_PER_THREAD)}));
}

// The threads that help one calling thread, from its first call for them to its end: an update calls them several
// times, and starting one anew each time costs some 50 microseconds. They wait awake at first, then asleep.
class Team {
  static constexpr long MOST = 1L << 20;  // threads of a call
  std::vector<std::thread> helpers;
  std::mutex mutex;
  std::condition_variable woken;
  std::atomic<long> call{0}, busy{0};  // call: the number of the present one * MOST + its threads; 0 threads ends all
  void (*work)(void*, long) = nullptr;
  void* context = nullptr;

  void help(long i, long seen) {
    Flush subnormal;
    for (;;) {
      for (long spins = 0; spins < 4000 && call.load(std::memory_order_acquire) == seen; spins++) rest();
      if (call.load(std::memory_order_acquire) == seen) {
        std::unique_lock<std::mutex> lock(mutex);
        woken.wait(lock, [&] { return call.load(std::memory_order_acquire) != seen; });
      }
      seen = call.load(std::memory_order_acquire);
      const long threads = seen % MOST;
      if (threads == 0) return;
      if (i >= threads) continue;  // and so it may miss a call, but none that counts on it
      work(context, i);
      busy.fetch_sub(1, std::memory_order_release);
    }
  }
  void begin(long threads) {
    std::lock_guard<std::mutex> lock(mutex);
    call.store((call.load() / MOST + 1) * MOST + threads, std::memory_order_release);
    woken.notify_all();
  }

public:
  void run(long threads, void (*todo)(void*, long), void* given) {
    while ((long)helpers.size() + 1 < threads)
      helpers.emplace_back(&Team::help, this, (long)helpers.size() + 1, call.load());
    work = todo, context = given;
    busy.store(threads - 1, std::memory_order_relaxed);
    begin(threads);
    {
      Flush subnormal;
      todo(given, 0);
    }
    for (long spins = 0; busy.load(std::memory_order_acquire) > 0; spins++)
      if (spins < 4000) rest();
      else std::this_thread::yield();
  }
  ~Team() {
    begin(0);
    for (auto& helper : helpers) helper.join();
  }
};

Team& own_team() {
  thread_local Team team;
  return team;
}

// The threads of torch, where its OpenMP has them: they wait awake after an operation of torch's, and a team of our own
// would share their cores with them.
struct Lent {
  void (*parallel)(void (*)(void*), void*, unsigned, unsigned);
  int (*number)(), (*count)();
} lent = {};

// Returns whether all of `threads` came: OpenMP may give fewer, and then nothing is done.
bool on_lent(long threads, void (*todo)(void*, long), void* given) {
  if (!lent.parallel) return false;
  struct Call {
    long threads;
    void (*todo)(void*, long);
    void* given;
    bool whole;
  } call = {threads, todo, given, true};
  auto each = [](void* of) {
    Call& call = *(Call*)of;
    const int i = lent.number();
    Flush subnormal;
    if (lent.count() == call.threads) call.todo(call.given, i);
    else if (i == 0) call.whole = false;
  };
  lent.parallel(each, &call, threads, 0);
  return call.whole;
}

template <typename Work> void on_threads(long threads, Work work) {  // work(i) for every i below `threads`
  auto todo = [](void* given, long i) { (*(Work*)given)(i); };
  if (threads == 1) {
    Flush subnormal;
    work(0);
  } else if (!on_lent(threads, todo, &work)) own_team().run(threads, todo, &work);
}

void together(long threads, void (*work)(const long*, void* const*, long, Meeting&), const long* n, void* const* p) {
  Meeting meeting(threads);
  on_threads(threads, [&](long i) { work(n, p, i, meeting); });
}
void meet(Meeting& meeting) { meeting.wait(); }

// Memory of the calling thread, kept from call to call: fresh memory costs page faults.
real* scratch(std::vector<real>& memory, long size) {
  if ((long)memory.size() < size) memory.resize(size);
  return memory.data();
}

}  // namespace

extern "C" {

long lanes() { return L; }

void lend(const Lent* of_torch) { lent = *of_torch; }

// (K, blocks * H) with rows of ld -> panels of the (K, blocks * S) whose padding is zero.
void pack(long K, long blocks, long H, long S, const real* source, long ld, real* packed) {
  const Panels panels(blocks * S);
  for (long panel = 0; panel < panels.count; panel++) {
    const long n = panels.begin(panel), w = panels.width(panel);
    for (long k = 0; k < K; k++, packed += w)
      for (long i = 0; i < w; i += L) {
        const long block = (n + i) / S, j = (n + i) % S;  // S is a multiple of L: one block at a time
        const real* from = source + k * ld + block * H + j;
        const long count = std::max(0L, std::min(L, H - j));
        if (count == L) store(packed + i, load(from));
        else
          for (long u = 0; u < L; u++) packed[i + u] = u < count ? from[u] : 0;
      }
  }
}

// The transposed of each (N, K) block of a (N, blocks * K): panels over N, then blocks, then k.
void pack_transposed(long N, long blocks, long K, const real* source, long ld, real* packed) {
  const Panels panels(whole(N));
  for (long panel = 0; panel < panels.count; panel++) {
    const long n = panels.begin(panel), w = panels.width(panel), real_rows = std::max(0L, std::min(w, N - n));
    for (long block = 0; block < blocks; block++)
      for (long k0 = 0; k0 < K; k0 += ROUND) {
        const long kn = std::min(ROUND, K - k0);
        for (long i = 0; i < real_rows; i++) {
          const real* from = source + (n + i) * ld + block * K + k0;
          for (long k = 0; k < kn; k++) packed[k * w + i] = from[k];
        }
        for (long k = 0; k < kn; k++)
          for (long i = real_rows; i < w; i++) packed[k * w + i] = 0;
        packed += kn * w;
      }
  }
}

// C (M, N) = sum over segments of A_s (M, K) times packed B_s (K, N); A_s begins at a + s * stride. N is a multiple
// of ROUND.
void product(long M, long N, long K, long segments, const real* a, long lda, long stride, const real* packed, real* c,
             long ldc) {
  const Panels panels(N);
  for (long panel = 0, next; panel < panels.count; panel = next) {
    next = panels.end_of_width(panel);
    const long w = panels.width(panel), count = next - panel;
    if (w == 3 * L) of_width<3>(count, M, K, segments, a, lda, stride, packed, c, ldc);
    else if (w == 2 * L) of_width<2>(count, M, K, segments, a, lda, stride, packed, c, ldc);
    else of_width<1>(count, M, K, segments, a, lda, stride, packed, c, ldc);
    packed += count * segments * K * w, c += count * w;
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

// C (M, N) = or += A^T B with A (K, M), B (K, N); N is a multiple of ROUND. A part of the columns. B is read where it
// lies: it was written just before, and its rows are not a power of two apart.
void outer_part(long M, long N, long K, const real* a, long lda, const real* b, long ldb, real* c, long ldc, long add,
                long part, long parts) {
  const Panels panels(N);
  // Blocks of A are copied to lie k by k, each a little apart from a multiple of 4 KiB, at which all of them would
  // want the same set of the cache.
  const long block = TILE * DEPTH + ROUND;
  thread_local std::vector<real> memory;
  real* const left = scratch(memory, (M + TILE - 1) / TILE * block);
  for (long k0 = 0; k0 < K; k0 += DEPTH) {
    const long depth = std::min(DEPTH, K - k0);
    const bool more = add || k0 > 0;
    for (long k = 0; k < depth; k++) {  // whole rows at a time, as memory likes to be read
      const real* const row = a + (k0 + k) * lda;
      for (long i = 0; i < M / TILE; i++)
        std::memcpy(left + i * block + k * TILE, row + i * TILE, TILE * sizeof(real));
      if (M % TILE) std::memcpy(left + M / TILE * block + k * TILE, row + M / TILE * TILE, M % TILE * sizeof(real));
    }
    for (long panel = part_begin(panels.count, part, parts); panel < part_begin(panels.count, part + 1, parts); panel++) {
      const long n = panels.begin(panel), w = panels.width(panel);
      const real* const right = b + k0 * ldb + n;
      if (w == 3 * L) columns<3>(M, depth, left, block, right, ldb, c + n, ldc, more);
      else if (w == 2 * L) columns<2>(M, depth, left, block, right, ldb, c + n, ldc, more);
      else columns<1>(M, depth, left, block, right, ldb, c + n, ldc, more);
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

// to[i] = hit where the draw from [0, 1) of key and first + i lies below rate, else miss; as harness/noise.py draws.
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

// The read-out and its cross-entropy: *loss = scale * sum over rows of share * -log softmax(rows W + b)[target], and,
// where d_rows is given, its gradients, in which a share of every target, `smoothing`, goes to all V alike. Scores exist
// for so many rows at a time as a core's cache holds.
void cross_entropy(long M, long H, long V, const real* rows, long ld, const real* weight, const real* bias,
                   const int64_t* targets, const real* share, double scale, double smoothing, double* loss,
                   real* d_rows, real* d_weight, real* d_bias, long threads) {
  Flush subnormal;
  const long S = whole(V), SH = whole(H), length = row_length(1, S);
  const long chunk = std::min(M, std::max(128L, (1L << 19) / (S * (long)sizeof(real)) / 64 * 64));
  const bool direct = SH == H, narrow = direct && S < H;  // the side that is copied in small blocks is the small one
  thread_local std::vector<real> memory;
  const long sizes[] = {
      H * S, SH * V, S, S, chunk * length, d_rows && !direct ? chunk * SH : 0, d_rows ? H * S : 0, chunk, chunk};
  long need = ROUND;
  for (long size : sizes) need += size;
  real* at = scratch(memory, need);
  auto take = [&](long i) { real* found = at; at += sizes[i]; return found; };
  real *packed = take(0), *transposed = take(1), *shift = take(2), *bias_sum = take(3), *scores = take(4);
  real *beside = take(5), *weight_sum = take(6), *sums = take(7), *gaps = take(8);
  pack(H, 1, V, S, weight, V, packed);
  if (d_rows) pack_transposed(H, 1, V, weight, V, transposed);
  for (long v = 0; v < S; v++) shift[v] = v < V ? bias[v] : -INFINITY;  // what is none has no probability
  std::memset(bias_sum, 0, S * sizeof(real));
  const vec least = splat(-60);  // what is less likely counts as 0: products of subnormal numbers are traps
  double total_loss = 0;
  for (long begin = 0; begin < M; begin += chunk) {
    const long count = std::min(chunk, M - begin);
    product_on_threads(count, S, H, 1, rows + begin * ld, ld, 0, packed, scores, length, threads);
    for (long m = 0; m < count; m++) {
      real* const row = scores + m * length;
      vec top = splat(-INFINITY), sum = splat(0);
      for (long j = 0; j < S; j += L) {
        const vec score = load(row + j) + load(shift + j);
        store(row + j, score);
        top = maximum(top, score);
      }
      const real most = largest(top), own = row[targets[begin + m]];
      for (long j = 0; j < S; j += L) {
        const vec below = load(row + j) - most;
        const vec e = choose(below < least, splat(0), exponential(maximum(below, least)));
        store(row + j, e);
        sum = sum + e;
      }
      const real whole_sum = total(sum);
      sums[m] = whole_sum;
      gaps[m] = most - own;
      if (!d_rows) continue;
      const vec each = splat((real)scale * (share ? share[begin + m] : 1) / whole_sum);
      row[targets[begin + m]] -= whole_sum * (real)(1 - smoothing);  // the softmax, less the target
      const vec even = splat(whole_sum * (real)(smoothing / V));
      for (long j = 0; j < S; j += L) {
        const vec slope = (load(row + j) - even) * each;
        store(row + j, slope);
        store(bias_sum + j, load(bias_sum + j) + slope);
      }
    }
    for (long m = 0; m < count; m += L) {  // a whole vector of logarithms at a time
      real logs[L] = {};
      std::memcpy(logs, sums + m, std::min(L, count - m) * sizeof(real));
      store(logs, logarithm(load(logs)));
      for (long i = 0; i < std::min(L, count - m); i++)
        total_loss += (share ? share[begin + m + i] : 1) * ((double)logs[i] + gaps[m + i]);
    }
    if (!d_rows) continue;
    real* const to = direct ? d_rows + begin * H : beside;
    product_on_threads(count, SH, V, 1, scores, length, 0, transposed, to, SH, threads);
    for (long m = 0; m < count && !direct; m++)
      std::memcpy(d_rows + (begin + m) * H, beside + m * SH, H * sizeof(real));
    if (narrow) outer(S, H, count, scores, length, rows + begin * ld, ld, weight_sum, H, begin > 0, threads);
    else outer(H, S, count, rows + begin * ld, ld, scores, length, weight_sum, S, begin > 0, threads);
  }
  *loss = scale * total_loss;
  if (!d_rows) return;
  for (long h = 0; h < H; h++)
    for (long v = 0; v < V; v++) d_weight[h * V + v] = narrow ? weight_sum[v * H + h] : weight_sum[h * S + v];
  std::memcpy(d_bias, bias_sum, V * sizeof(real));
}
}
