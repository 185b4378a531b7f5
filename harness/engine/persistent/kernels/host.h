// A block of a cluster as threads of the host, so that what is generated for CUDA runs where there is none.
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#define DEVICE static inline
#define DEVICE_METHOD inline
#define UNROLL
#define ROLLED
#define UNROLL_BY_2

class Barrier {
  const int count;
  int waiting = 0;
  long long round = 0;
  std::mutex mutex;
  std::condition_variable all_here;

public:
  explicit Barrier(int count) : count(count) {}
  // Returns the round that must be over before the thread may go on.
  long long arrive() {
    std::unique_lock<std::mutex> lock(mutex);
    const long long now = round;
    if (++waiting == count) {
      waiting = 0;
      round++;
      all_here.notify_all();
    }
    return now;
  }
  void wait(long long arrived) {
    std::unique_lock<std::mutex> lock(mutex);
    all_here.wait(lock, [&] { return round != arrived; });
  }
  void sync() { wait(arrive()); }
};

// What the 32 threads of a warp show one another.
struct Warp {
  Barrier barrier{32};
  Word a[32][4], b[32][2];
};

struct Block {
  int rank, thread;
  unsigned run, tile;
  real* memory;  // what the block's threads share, and the other blocks of the cluster reach
  real* const* memories;
  Barrier *block_barrier, *cluster_barrier;
  Warp* warp;
  mutable long long arrived = 0;

  void sync() const { block_barrier->sync(); }
  void cluster_arrive() const { arrived = cluster_barrier->arrive(); }
  void cluster_wait() const { cluster_barrier->wait(arrived); }
  void cluster_sync() const { cluster_barrier->sync(); }
  real* peer(real* own, int other) const { return memories[other] + (own - memory); }
};

// What the caller has made sure of.
DEVICE void must(bool) {}

DEVICE void load_2(const Word* from, Word (&to)[2]) { to[0] = from[0], to[1] = from[1]; }
DEVICE void load_4(const real* from, real (&to)[4]) {
  for (int i = 0; i < 4; i++) to[i] = from[i];
}
DEVICE void store_4(real* to, const real (&from)[4]) {
  for (int i = 0; i < 4; i++) to[i] = from[i];
}

DEVICE unsigned bits_of(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
DEVICE float float_of(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

#if PAIRS
// To nearest, ties to even.
DEVICE Factor bfloat16_of(float x) {
  const unsigned bits = bits_of(x);
  return x != x ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
DEVICE Word pair_of(float first, float second) { return bfloat16_of(first) | Word(bfloat16_of(second)) << 16; }
DEVICE real product_of(Word a, Word b) {
  return float_of(a << 16) * float_of(b << 16) + float_of(a & 0xffff0000u) * float_of(b & 0xffff0000u);
}
#else
DEVICE real product_of(Word a, Word b) { return a * b; }
#endif

// sums (16, 8) += a (16, 8) * b (8, 8) of a warp, each lane with its part: the layout of m16n8k8 in the PTX manual, and
// with two numbers in a word that of m16n8k16.
DEVICE void multiply_add(const Block& block, real (&sums)[4], const Word (&a)[4], const Word (&b)[2]) {
  const int lane = block.thread % 32;
  std::memcpy(block.warp->a[lane], a, sizeof a);
  std::memcpy(block.warp->b[lane], b, sizeof b);
  block.warp->barrier.sync();
  for (int i = 0; i < 4; i++) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 8; k++)
      sums[i] += product_of(block.warp->a[row % 8 * 4 + k % 4][row / 8 + k / 4 * 2],
                            block.warp->b[column * 4 + k % 4][k / 4]);
  }
  block.warp->barrier.sync();
}

DEVICE real root(real x) { return std::sqrt(x); }
DEVICE real exponential(real x) { return std::exp(x); }
DEVICE real exponential_minus_1(real x) { return std::expm1(x); }
DEVICE real logarithm(real x) { return std::log(x); }
DEVICE real logarithm_of_1_plus(real x) { return std::log1p(x); }
DEVICE real hyperbolic_tangent(real x) { return std::tanh(x); }
DEVICE real sine(real x) { return std::sin(x); }
DEVICE real cosine(real x) { return std::cos(x); }
DEVICE real arctangent(real x) { return std::atan(x); }
DEVICE real error_function(real x) { return std::erf(x); }
DEVICE real absolute(real x) { return std::fabs(x); }
DEVICE real modulo(real x, real y) { return std::fmod(x, y); }
DEVICE real infinity() { return INFINITY; }
DEVICE real not_a_number() { return NAN; }

// All clusters of a launch, one after another, each by C * THREADS threads. Memory is NaN before a cluster begins, so
// that what is read before it is written shows.
template <class Arguments>
void launch(void (*work)(const Block&, const Arguments&), const Arguments& a, long long bytes) {
  constexpr int WARPS = (THREADS + 31) / 32;
  const long long tiles = (a.batch + ROWS - 1) / ROWS, size = bytes / sizeof(real);
  std::vector<std::vector<real>> memory(C, std::vector<real>(size));
  std::vector<real*> memories;
  for (auto& one : memory) memories.push_back(one.data());
  Barrier cluster_barrier(C * THREADS);
  std::deque<Barrier> block_barriers;
  for (int rank = 0; rank < C; rank++) block_barriers.emplace_back(THREADS);
  std::deque<Warp> warps(C * WARPS);
  auto all_clusters = [&](int rank, int thread) {
    for (long long cluster = 0; cluster < a.runs * tiles; cluster++) {
      cluster_barrier.sync();
      if (thread == 0) std::memset(memory[rank].data(), 0xff, bytes);  // NaN, and each half of a float is
      cluster_barrier.sync();
      work(Block{rank, thread, unsigned(cluster / tiles), unsigned(cluster % tiles), memories[rank], memories.data(),
                 &block_barriers[rank], &cluster_barrier, &warps[rank * WARPS + thread / 32]}, a);
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < C * THREADS; i++) threads.emplace_back(all_clusters, i / THREADS, i % THREADS);
  for (auto& one : threads) one.join();
}
#define KERNEL(name, bytes) \
  extern "C" void name(const Arguments* a) { launch(name##_block, *a, bytes); }
