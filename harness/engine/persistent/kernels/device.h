// A block of a cluster on CUDA. host.h offers the same names where blocks are threads of the host.
#define DEVICE static __device__ __forceinline__
#define DEVICE_METHOD __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("unroll 1")
#define UNROLL_BY_2 _Pragma("unroll 2")

struct Block {
  int rank, thread;
  unsigned run, tile;
  real* memory;  // what the block's threads share, and the other blocks of the cluster reach

  __device__ explicit Block(real* memory)
      : rank(blockIdx.x), thread(threadIdx.x), run(blockIdx.z), tile(blockIdx.y), memory(memory) {}

  __device__ __forceinline__ void sync() const { __syncthreads(); }

  // What a block wrote into another one's memory before it arrived is there when that one has waited.
  __device__ __forceinline__ void cluster_arrive() const {
#if CLUSTERS
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
  }
  __device__ __forceinline__ void cluster_wait() const {
#if CLUSTERS
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#else
    __syncthreads();
#endif
  }
  __device__ __forceinline__ void cluster_sync() const {
    cluster_arrive();
    cluster_wait();
  }

  // Where `own`, of this block's memory, lies in that of another block.
  __device__ __forceinline__ real* peer(real* own, int other) const {
#if CLUSTERS
    real* there;
    asm("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(own), "r"(other));
    return there;
#else
    return own;
#endif
  }
};

// Ends the kernel where something does not hold: the next call that waits for the device raises an error.
DEVICE void must(bool holds) {
  if (!holds) __trap();
}

DEVICE void load_2(const float* from, float (&to)[2]) {
  const float2 both = *reinterpret_cast<const float2*>(from);
  to[0] = both.x, to[1] = both.y;
}
DEVICE void load_4(const float* from, float (&to)[4]) {
  const float4 all = *reinterpret_cast<const float4*>(from);
  to[0] = all.x, to[1] = all.y, to[2] = all.z, to[3] = all.w;
}
DEVICE void load_4(const double* from, double (&to)[4]) {
  const double2 low = *reinterpret_cast<const double2*>(from), high = *reinterpret_cast<const double2*>(from + 2);
  to[0] = low.x, to[1] = low.y, to[2] = high.x, to[3] = high.y;
}
DEVICE void store_4(float* to, const float (&from)[4]) {
  *reinterpret_cast<float4*>(to) = make_float4(from[0], from[1], from[2], from[3]);
}
DEVICE void store_4(double* to, const double (&from)[4]) {
  reinterpret_cast<double2*>(to)[0] = make_double2(from[0], from[1]);
  reinterpret_cast<double2*>(to)[1] = make_double2(from[2], from[3]);
}

DEVICE unsigned bits_of(float x) { return __float_as_uint(x); }
DEVICE float float_of(unsigned bits) { return __uint_as_float(bits); }

#if PAIRS
DEVICE void load_2(const Word* from, Word (&to)[2]) {
  const uint2 both = *reinterpret_cast<const uint2*>(from);
  to[0] = both.x, to[1] = both.y;
}

// To nearest, ties to even.
DEVICE Factor bfloat16_of(float x) {
  Factor half;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(half) : "f"(x));
  return half;
}
DEVICE Word pair_of(float first, float second) {
  Word both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
  return both;
}

// sums (16, 8) += a (16, 16) * b (16, 8) of a warp, each lane with its part: the layout of m16n8k16 in the PTX manual,
// which is that of m16n8k8 with two numbers in a word, the first one in its lower half.
DEVICE void multiply_add(const Block&, float (&sums)[4], const Word (&a)[4], const Word (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#elif TENSOR_CORES
// sums (16, 8) += a (16, 8) * b (8, 8) of a warp, each lane with its part: the layout of m16n8k8 in the PTX manual.
// The operands are rounded already.
DEVICE void multiply_add(const Block&, float (&sums)[4], const float (&a)[4], const float (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(bits_of(a[0])), "r"(bits_of(a[1])), "r"(bits_of(a[2])), "r"(bits_of(a[3])), "r"(bits_of(b[0])),
        "r"(bits_of(b[1])));
}
#endif

#define FUNCTION_1(name, single, twice) \
  DEVICE float name(float x) { return single(x); } \
  DEVICE double name(double x) { return twice(x); }
FUNCTION_1(root, sqrtf, sqrt)
FUNCTION_1(exponential, expf, exp)
FUNCTION_1(exponential_minus_1, expm1f, expm1)
FUNCTION_1(logarithm, logf, log)
FUNCTION_1(logarithm_of_1_plus, log1pf, log1p)
FUNCTION_1(hyperbolic_tangent, tanhf, tanh)
FUNCTION_1(sine, sinf, sin)
FUNCTION_1(cosine, cosf, cos)
FUNCTION_1(arctangent, atanf, atan)
FUNCTION_1(error_function, erff, erf)
FUNCTION_1(absolute, fabsf, fabs)
DEVICE float modulo(float x, float y) { return fmodf(x, y); }
DEVICE double modulo(double x, double y) { return fmod(x, y); }
DEVICE real infinity() { return __int_as_float(0x7f800000); }
DEVICE real not_a_number() { return __int_as_float(0x7fc00000); }

// One kernel: C blocks on x are a cluster, tiles of rows on y, runs on z.
#if CLUSTERS
#define CLUSTER __cluster_dims__(C, 1, 1)
#else
#define CLUSTER
#endif
#define KERNEL(name, bytes) \
  extern "C" __global__ void CLUSTER __launch_bounds__(THREADS, 1) name(const __grid_constant__ Arguments a) { \
    extern __shared__ __align__(16) unsigned char shared[]; \
    name##_block(Block(reinterpret_cast<real*>(shared)), a); \
  }
