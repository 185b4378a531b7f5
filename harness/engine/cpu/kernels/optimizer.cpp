// One step of SGD, Adam, AdamW, RMSprop, NAdam or ASGD for one run, whose parameters are one row: see
// harness/training/optimizer.py, which says the same in torch's operations.
#include <cmath>

#include "vector.h"

namespace {

constexpr long BLOCK = 4096;  // squares are added up in REAL so far, then in double

double norm(long P, const real* gradients) {
  double sum = 0;
  for (long begin = 0; begin < P; begin += BLOCK) {
    const long end = begin + BLOCK < P ? begin + BLOCK : P;
    vec part[4] = {};
    long i = begin;
    for (; i + 4 * L <= end; i += 4 * L)
      for (long k = 0; k < 4; k++) {
        const vec g = load(gradients + i + k * L);
        part[k] += g * g;
      }
    for (; i < end; i += L) {
      const vec g = load(gradients + i);
      part[0] += g * g;
    }
    sum += total((part[0] + part[1]) + (part[2] + part[3]));
  }
  return std::sqrt(sum);
}

}  // namespace

extern "C" {

enum Kind { SGD, ADAM, ADAMW, RMSPROP, NADAM, ASGD };

// P is a multiple of 16. Returns the norm before clipping. Nothing moves where it, or the loss, is not finite: the run
// is no longer alive. `first` is the velocity of SGD and RMSprop, null without momentum, or the mean of ASGD's parameters;
// `factors` are the update's size; for ASGD its part in the mean; else epsilon, and for Adam what decay is multiplied by, for NAdam what the gradient is.
double step(long P, long kind, real* parameters, real* gradients, real* first, real* second,
            const real* factors, long stride, double clip_norm, double clip_value, double momentum, double decay,
            double loss, integer* alive) {
  Flush subnormal;
  const double length = norm(P, gradients);
  if (!std::isfinite((real)length) || !std::isfinite((real)(length + loss))) *alive = 0;
  if (!*alive) return length;
  vec clip = splat((real)(length > clip_norm ? clip_norm / length : 1));
  const vec size = splat(factors[0]);
  const vec shrink = splat((real)decay), most = splat((real)clip_value);
  if (std::isfinite(clip_value)) {  // a pass of its own: within the others it would change how they round
    for (long i = 0; i < P; i += L) store(gradients + i, minimum(maximum(load(gradients + i) * clip, -most), most));
    clip = splat(1);
  }
  if (kind == SGD) {
    for (long i = 0; i < P; i += L) {
      const vec p = load(parameters + i);
      vec g = load(gradients + i) * clip;
      if (decay) g += p * shrink;
      if (first) store(first + i, g = load(first + i) * (real)momentum + g);
      store(parameters + i, p - size * g);
    }
    return length;
  }
  if (kind == ASGD) {
    const real share = factors[stride], rest = 1 - share;
    for (long i = 0; i < P; i += L) {
      const vec p = load(parameters + i);
      vec g = load(gradients + i) * clip;
      if (decay) g += p * shrink;
      const vec moved = p - size * g, gap = moved - load(first + i);
      store(parameters + i, moved);
      store(first + i, share < (real)0.5 ? load(first + i) + gap * share : moved - gap * rest);
    }
    return length;
  }
  const vec epsilon = splat(factors[stride]);
  if (kind == RMSPROP) {
    const real keep = 0.99, fresh = 1 - 0.99;
    for (long i = 0; i < P; i += L) {
      const vec p = load(parameters + i);
      vec g = load(gradients + i) * clip;
      if (decay) g += p * shrink;
      const vec v = load(second + i) * keep + g * g * fresh;
      store(second + i, v);
      vec direction = g / (root(v) + epsilon);
      if (first) store(first + i, direction = load(first + i) * (real)momentum + direction);
      store(parameters + i, p - size * direction);
    }
    return length;
  }
  const vec outside = splat((real)(factors[2 * stride] * decay)), share = splat(factors[2 * stride]);
  const real keep = 0.999, fresh = 1 - 0.999, step = 1 - 0.9;
  for (long i = 0; i < P; i += L) {
    const vec p = load(parameters + i);
    vec g = load(gradients + i) * clip;
    if (decay && kind != ADAMW) g += p * shrink;
    const vec m = load(first + i), moved = m + (g - m) * step, v = load(second + i) * keep + g * g * fresh;
    store(first + i, moved);
    store(second + i, v);
    vec direction = (kind == NADAM ? moved + g * share : moved) / (root(v) + epsilon);
    if (decay && kind == ADAMW) direction += p * outside;
    store(parameters + i, p - size * direction);
  }
  return length;
}
}
