// What one core reaches: multiply-adds among registers, where nothing waits for memory, and reads of memory, where
// nothing waits for arithmetic.
#include "vector.h"

// Independent chains, so many that no unit of a core waits for a result, and that all fit its registers with what they
// are multiplied by.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr long CHAINS = 24;
#else
constexpr long CHAINS = 12;
#endif

namespace {

double total_of(const vec* sums, long count) {
  double total = 0;
  for (long k = 0; k < count; k++)
    for (long i = 0; i < L; i++) total += sums[k][i];
  return total;
}

}  // namespace

extern "C" {

// The operations of one round of multiply_add.
long operations() { return 2 * L * CHAINS; }

// Each value goes to the same limit, so that none overflows and none becomes subnormal, however many rounds there are.
double multiply_add(long rounds) {
  vec sums[CHAINS];
  for (long k = 0; k < CHAINS; k++) sums[k] = splat((real)(k + 1));
  const vec factor = splat((real)0.5), term = splat((real)0.5);
  for (long i = 0; i < rounds; i++)
#pragma GCC unroll 24
    for (long k = 0; k < CHAINS; k++) sums[k] = sums[k] * factor + term;
  return total_of(sums, CHAINS);
}

// Reads `count` numbers, a multiple of 8 vectors, in every round.
double read_all(const real* data, long count, long rounds) {
  vec sums[8] = {};
  for (long round = 0; round < rounds; round++) {
    for (long i = 0; i < count; i += 8 * L)
      for (long k = 0; k < 8; k++) sums[k] += load(data + i + k * L);
    asm volatile("" ::: "memory");  // else a compiler may read once and add the rest up from it
  }
  return total_of(sums, 8);
}
}
