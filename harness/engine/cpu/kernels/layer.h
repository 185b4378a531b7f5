// What a generated layer takes from products.cpp, which says what each function does. No header of the library is
// read here: every cell would pay for it at its first use.
#pragma once
#include "vector.h"

// Where part i of `parts` begins among `count`.
static inline long part_begin(long count, long i, long parts) { return count * i / parts; }
// Likewise of B rows, at a multiple of SLICE.
static inline long row_begin(long B, long i, long parts) {
  const long row = part_begin((B + SLICE - 1) / SLICE, i, parts) * SLICE;
  return row < B ? row : B;
}

class Meeting;  // where the threads of a call wait for one another

struct Kernels {
  void (*pack)(long, long, long, long, long, const real*, long, real*);
  void (*pack_transposed)(long, long, long, const real*, long, real*);
  void (*product)(long, long, long, long, const real*, long, long, const real*, real*, long);
  void (*outer_part)(long, long, long, const real*, long, const real*, long, real*, long, long, long, long);
  void (*scatter_part)(long, long, long, long, long, const int64_t*, const real*, long, real*, long, long, long);
  void (*sum_part)(long, long, const real*, long, real*, long, long, long);
  void (*on_threads)(long, void (*)(const long*, void* const*, long, Meeting&), const long*, void* const*);
  void (*meet)(Meeting&);
};

// Units u_begin to u_end of rows of H units to rows of whole vectors; what is beyond H is zero, and nullptr is zeros.
static inline void unpack_units(real* to, const real* from, long rows, long H, long u_begin, long u_end) {
  const long length = row_length(1, whole(H)), count = from ? (H < u_end ? H : u_end) - u_begin : 0;
  for (long b = 0; b < rows; b++, to += length) {
    if (from) std::memcpy(to + u_begin, from + b * H + u_begin, count * sizeof(real));
    std::memset(to + u_begin + count, 0, (u_end - u_begin - count) * sizeof(real));
  }
}

// Rows of blocks of S units to rows of blocks of H.
static inline void narrow(real* to, const real* from, long rows, long blocks, long H, long S) {
  for (long i = 0; i < rows * blocks; i++) std::memcpy(to + i * H, from + i * S, H * sizeof(real));
}
