// Vectors of REAL (float or double) through the compiler's own vector types, and the functions that cells use.
//
// Accuracy, over the whole range, measured by tests/engine/test_kernels.py in units of the last place of the
// result: exp, sigmoid, tanh, expm1, log, log1p within 4. NaN goes in and comes out; exp overflows to infinity;
// sigmoid stops at the smallest normal numbers instead of going on to zero.
#pragma once

#include <cstdint>
#include <cstring>

// No other header: <cmath> and <immintrin.h> take as long to read as a cell's code to compile, and every cell would
// pay for them at its first use. Hence these two, the compiler's own functions, and instructions by their names.
#ifndef INFINITY
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#endif

#ifndef REAL
#define REAL float
#endif

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

typedef REAL real;
constexpr bool SINGLE = sizeof(real) == 4;
constexpr long L = VECTOR_BYTES / sizeof(real);

template <bool single> struct Bits { typedef int64_t type; };
template <> struct Bits<true> { typedef int32_t type; };
typedef Bits<SINGLE>::type integer;

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef integer ivec __attribute__((vector_size(VECTOR_BYTES)));
typedef real loose __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

// While one exists, subnormal numbers count as zero in its thread: a product of them is a trap that costs a hundred
// others, and where gates saturate gradients are full of them.
struct Flush {
#if defined(__SSE__)
  const unsigned before = __builtin_ia32_stmxcsr();
  Flush() { __builtin_ia32_ldmxcsr(before | 0x8040); }
  ~Flush() { __builtin_ia32_ldmxcsr(before); }
#else
  Flush() {}
#endif
};

static inline vec load(const real* p) { return *(const loose*)p; }
static inline void store(real* p, vec v) { *(loose*)p = v; }
static inline vec splat(real x) { return x - vec{}; }
static inline vec as_real(ivec v) { return (vec)v; }
static inline ivec as_bits(vec v) { return (ivec)v; }
static inline vec choose(ivec mask, vec a, vec b) { return mask ? a : b; }
static inline ivec is_true(vec v) { return v != splat(0); }

// A buffer's row of `blocks` gates of S units; never a multiple of 2 KiB, which would crowd one set of the cache.
static inline long row_length(long blocks, long S) {
  const long n = blocks * S;
  return n * (long)sizeof(real) % 2048 == 0 ? n + ROUND : n;
}

static inline long whole(long H) { return (H + ROUND - 1) / ROUND * ROUND; }

// Rows of H units to rows of whole vectors, the padding zero; nullptr is zeros.
static inline void unpack(real* to, const real* from, long rows, long H) {
  const long length = row_length(1, whole(H));
  for (long b = 0; b < rows; b++, to += length) {
    if (from) std::memcpy(to, from + b * H, H * sizeof(real));
    else std::memset(to, 0, H * sizeof(real));
    std::memset(to + H, 0, (whole(H) - H) * sizeof(real));
  }
}
// And back.
static inline void repack(real* to, const real* from, long rows, long H) {
  for (long b = 0; b < rows; b++) std::memcpy(to + b * H, from + b * row_length(1, whole(H)), H * sizeof(real));
}

static inline vec absolute(vec x) {
  return as_real(as_bits(x) & (integer)(SINGLE ? 0x7fffffff : 0x7fffffffffffffffLL));
}
static inline vec minimum(vec a, vec b) { return choose((a < b) | (a != a), a, b); }
static inline vec maximum(vec a, vec b) { return choose((b < a) | (a != a), a, b); }
static inline vec sign(vec x) { return choose(x > 0, splat(1), choose(x < 0, splat(-1), x)); }

static inline vec root(vec x) {
  vec y;
  for (long i = 0; i < L; i++) y[i] = SINGLE ? __builtin_sqrtf(x[i]) : __builtin_sqrt(x[i]);
  return y;
}
static inline vec reciprocal_root(vec x) { return splat(1) / root(x); }

// Halves are folded onto each other: a sum of L terms would wait L times for the one before.
template <long n> struct Lanes { typedef real type __attribute__((vector_size(n * sizeof(real)))); };
template <long n, typename Join> static inline real folded(typename Lanes<n>::type v, Join join) {
  if constexpr (n == 1) return v[0];
  else {
    const union { typename Lanes<n>::type whole; typename Lanes<n / 2>::type half[2]; } both = {v};
    return folded<n / 2>(join(both.half[0], both.half[1]), join);
  }
}
static inline real total(vec v) {
  return folded<L>(v, [](auto a, auto b) { return a + b; });
}
static inline real largest(vec v) {
  return folded<L>(v, [](auto a, auto b) { return ((a > b) | (a != a)) ? a : b; });
}
// The first `count` units of v, the others replaced.
static inline vec first(vec v, long count, real other) {
  if (count >= L) return v;
  static constexpr integer order[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  ivec lane;
  std::memcpy(&lane, order, sizeof lane);
  return choose(lane < (integer)count, v, splat(other));
}

// x = n ln 2 + r with |r| <= ln 2 / 2.
struct Reduced { vec n, r; };
constexpr real MAGIC = SINGLE ? 12582912.0 : 6755399441055744.0;  // 1.5 * 2^(mantissa bits): adding it rounds
static inline Reduced reduce(vec x) {
  const real high = SINGLE ? 0.693145751953125 : 6.93147180369123816490e-01;
  const real low = SINGLE ? 1.428606765330187e-06 : 1.90821492927058770002e-10;
  const vec n = (x * (real)1.4426950408889634074 + MAGIC) - MAGIC;
  return {n, (x - n * high) - n * low};
}

#if defined(__AVX512F__)
// x * 2^n for a whole n, infinity and subnormal numbers included; x between two limits, NaN as it is.
static inline vec scaled(vec x, vec n) {
  if constexpr (SINGLE) asm("vscalefps %1, %0, %0" : "+v"(x) : "v"(n));
  else asm("vscalefpd %1, %0, %0" : "+v"(x) : "v"(n));
  return x;
}
static inline vec between(vec x, real low, real high) {
  const vec least = splat(low), most = splat(high);
  if constexpr (SINGLE) asm("vmaxps %0, %1, %0\n\tvminps %0, %2, %0" : "+&v"(x) : "v"(least), "v"(most));
  else asm("vmaxpd %0, %1, %0\n\tvminpd %0, %2, %0" : "+&v"(x) : "v"(least), "v"(most));
  return x;
}
#else
static inline vec power(ivec n) { return as_real((n + (integer)(SINGLE ? 127 : 1023)) << (SINGLE ? 23 : 52)); }
static inline vec scaled(vec x, vec n) {  // in two steps, to reach infinity and the subnormal numbers
  const ivec whole = as_bits(n + MAGIC) - as_bits(splat(MAGIC)), half = whole >> 1;
  return x * power(half) * power(whole - half);
}
static inline vec between(vec x, real low, real high) {
  x = choose(x < low, splat(low), x);
  return choose(x > high, splat(high), x);
}
#endif

// e^r - 1 for a reduced r: Taylor's series, whose remainder is below a tenth of the last place.
static inline vec small_expm1(vec r) {
  vec p;
  if constexpr (SINGLE) {
    p = r * (real)(1.0 / 5040) + (real)(1.0 / 720);
  } else {
    p = r * (real)(1.0 / 6227020800.0) + (real)(1.0 / 479001600.0);
    p = p * r + (real)(1.0 / 39916800.0);
    p = p * r + (real)(1.0 / 3628800.0);
    p = p * r + (real)(1.0 / 362880.0);
    p = p * r + (real)(1.0 / 40320.0);
    p = p * r + (real)(1.0 / 5040.0);
    p = p * r + (real)(1.0 / 720.0);
  }
  p = p * r + (real)(1.0 / 120);
  p = p * r + (real)(1.0 / 24);
  p = p * r + (real)(1.0 / 6);
  p = p * r + (real)0.5;
  return r + (r * r) * p;
}
// 1 / x for x from 1 to 1e38. A division of 16 floats holds the divider for 16 cycles; an estimate of 14 bits and a
// step of Newton's method, four.
static inline vec inverse(vec x) {
#if defined(__AVX512F__)
  if constexpr (SINGLE) {
    vec y;
    asm("vrcp14ps %1, %0" : "=v"(y) : "v"(x));
    return y + y * (1 - x * y);
  }
#endif
  return 1 / x;
}

static inline vec exponential(vec x) {
  const Reduced a = reduce(between(x, SINGLE ? -104 : -746, SINGLE ? 89 : 710));
  return scaled(small_expm1(a.r) + 1, a.n);
}
static inline vec sigmoid(vec x) {
  const Reduced a = reduce(between(-x, SINGLE ? -87 : -708, SINGLE ? 87 : 708));
  return inverse(1 + scaled(small_expm1(a.r) + 1, a.n));
}
static inline vec expm1_of_moderate(vec x) {
  const Reduced a = reduce(x);
  const vec scale = scaled(splat(1), a.n);
  return scale * small_expm1(a.r) + (scale - 1);
}
static inline vec hyperbolic_tangent(vec x) {
  const vec e = expm1_of_moderate(between(x + x, SINGLE ? -20 : -44, SINGLE ? 20 : 44));
  return e * inverse(e + 2);
}
static inline vec exponential_minus_1(vec x) {
  return choose(x > 40, exponential(x), expm1_of_moderate(between(x, -50, 41)));
}

static inline vec logarithm(vec x) {
  const real smallest = SINGLE ? 1.17549435e-38 : 2.2250738585072014e-308, up = SINGLE ? 16777216.0 : 18014398509481984.0;
  const ivec tiny = x < smallest;
  const vec y = choose(tiny, x * up, x);
  const integer mantissa = SINGLE ? 0x7fffff : 0xfffffffffffffLL, bias = SINGLE ? 127 : 1023;
  const int shift = SINGLE ? 23 : 52;
  ivec n = ((as_bits(y) >> shift) & (integer)(SINGLE ? 0xff : 0x7ff)) - bias;
  vec m = as_real((as_bits(y) & mantissa) | (bias << shift));
  const ivec big = m > (real)1.41421356237309504880;
  m = choose(big, m * (real)0.5, m);
  n = n - big - (tiny & (integer)(SINGLE ? 24 : 54));  // a true mask is -1
  const vec f = m - 1, s = f / (2 + f), z = s * s;
  vec p;
  if constexpr (SINGLE) {
    p = z * (real)(1.0 / 9) + (real)(1.0 / 7);
  } else {
    p = z * (real)(1.0 / 21) + (real)(1.0 / 19);
    p = p * z + (real)(1.0 / 17);
    p = p * z + (real)(1.0 / 15);
    p = p * z + (real)(1.0 / 13);
    p = p * z + (real)(1.0 / 11);
    p = p * z + (real)(1.0 / 9);
    p = p * z + (real)(1.0 / 7);
  }
  p = p * z + (real)(1.0 / 5);
  p = p * z + (real)(1.0 / 3);
  const vec k = __builtin_convertvector(n, vec);
  const real high = SINGLE ? 0.693145751953125 : 6.93147180369123816490e-01;
  const real low = SINGLE ? 1.428606765330187e-06 : 1.90821492927058770002e-10;
  vec result = k * high + ((s + s) + ((s + s) * z * p + k * low));
  result = choose(x == 0, splat(-INFINITY), result);
  result = choose((x < 0) | (x != x), splat(NAN), result);
  return choose(x == (real)INFINITY, x, result);
}
static inline vec logarithm_of_1_plus(vec x) {
  const vec u = 1 + x, exact = logarithm(u);  // corrected for what 1 + x has rounded away (Kahan)
  const vec corrected = exact * (x / (u - 1));
  return choose(u == 1, x, choose((u == (real)INFINITY) | (u == 0), exact, corrected));
}
