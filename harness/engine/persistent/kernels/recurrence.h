// What the generated time loops are made of, on a device and on the host alike.

// One (unit, row) of a block, which belongs to one thread for all time steps.
struct Element {
  bool inside;            // false in what pads the units and the rows
  int own_unit, own_row;  // among those of the block
  int unit;               // of H
  unsigned row;           // of B
};

DEVICE Element element(const Block& block, const Arguments& a, int p) {
  const int number = block.thread + p * THREADS, own_unit = number % U, own_row = number / U;
  const int unit = block.rank * U + own_unit;
  const unsigned row = block.tile * ROWS + own_row;
  return {own_row < ROWS && unit < H && row < unsigned(a.batch), own_unit, own_row, unit, row};
}

// Which row of (N, length, B, ...) is the element's at a time. A tensor has less than 2^32 rows, so that an address is
// made by one multiplication.
DEVICE unsigned row_at(const Block& block, const Arguments& a, const Element& e, unsigned length, unsigned time) {
  return (block.run * length + time) * unsigned(a.batch) + e.row;
}

// The element's token at a time; nothing where x has a row of each. It is read a time step before its row, since each of
// both takes as long as a product.
DEVICE long long token_at(const Block& block, const Arguments& a, const Element& e, unsigned t) {
  return a.tokens ? a.tokens[row_at(block, a, e, a.steps, t)] : 0;
}

// Which row of x: by its token where there are tokens, of a table (N, V, ...).
DEVICE unsigned row_of_x(const Block& block, const Arguments& a, const Element& e, unsigned t, long long token) {
  if (!a.tokens) return row_at(block, a, e, a.steps, t);
  must(token >= 0 && token < a.vocabulary);
  return block.run * unsigned(a.vocabulary) + unsigned(token);
}

// Where a number lies in rows of some width.
DEVICE size_t place(unsigned row, int width, int column) { return size_t(row) * width + column; }

constexpr DEVICE int at_most(int most, int number) { return number < most ? number : most; }

DEVICE real sigmoid(real x) { return real(1) / (real(1) + exponential(-x)); }
DEVICE real sign(real x) { return real(x > 0) - real(x < 0); }
DEVICE real minimum(real a, real b) { return a != a || a < b ? a : b; }
DEVICE real maximum(real a, real b) { return a != a || a > b ? a : b; }

// float32 whose last DROPPED_BITS of the mantissa are rounded away, to nearest, ties to even. What becomes half a word
// is rounded there, by one instruction.
DEVICE real rounded(real x) {
#if DROPPED_BITS && !PAIRS
  const unsigned bits = bits_of(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) return x;
  return float_of((bits + (1u << (DROPPED_BITS - 1)) - 1 + ((bits >> DROPPED_BITS) & 1)) & ~((1u << DROPPED_BITS) - 1));
#else
  return x;
#endif
}

// How memory holds what products multiply.
DEVICE Factor factor(real x) {
#if PAIRS
  return bfloat16_of(x);
#else
  return x;
#endif
}

DEVICE Factor operand(real x) { return factor(rounded(x)); }

DEVICE void zero(const Block& block, long long bytes) {
  for (long long i = block.thread; i < bytes / (long long)sizeof(real); i += THREADS) block.memory[i] = 0;
}

// A block's part of a run's matrix (H, GATES * H): what a product takes of it for a term and an output.
template <int GATES>
struct Columns {
  static DEVICE_METHOD real at(const Block& block, const real* matrix, int k, int output) {
    const int unit = block.rank * U + output % U;
    const bool inside = k < H && output < GATES * U && unit < H;
    return inside ? rounded(matrix[place((block.run * H + k) * GATES + output / U, H, unit)]) : real(0);
  }
};
template <int GATES>
struct Rows {
  static DEVICE_METHOD real at(const Block& block, const real* matrix, int k, int output) {
    const int unit = block.rank * U + k % U;
    const bool inside = output < H && k < GATES * U && unit < H;
    return inside ? rounded(matrix[place((block.run * H + output) * GATES + k / U, H, unit)]) : real(0);
  }
};

// In which row of a slice in shared memory a word lies, whose parts of LENGTH words leave the first HELD in registers.
template <int LENGTH, int HELD>
DEVICE int row_of(int k) {
  return k % LENGTH < HELD ? -1 : k / LENGTH * (LENGTH - HELD) + k % LENGTH - HELD;
}

// slice[row of k][output] = an entry of a block's part, of which a word has PACKED terms.
template <class Matrix, int WIDTH, int LENGTH, int HELD>
DEVICE void take(const Block& block, const real* matrix, Factor* slice, int k, int output) {
  const int row = row_of<LENGTH, HELD>(k / PACKED);
  if (row >= 0) slice[(row * WIDTH + output) * PACKED + k % PACKED] = factor(Matrix::at(block, matrix, k, output));
}

// All entries of the block's columns of a run's matrix, k a unit and each output a gate's own unit.
template <int GATES, int WIDTH, int LENGTH, int HELD>
DEVICE void take_columns(const Block& block, const real* matrix, Factor* slice) {
  for (int i = block.thread; i < H * GATES * U; i += THREADS) {
    const int output = i % (GATES * U), k = i / (GATES * U);
    take<Columns<GATES>, WIDTH, LENGTH, HELD>(block, matrix, slice, k, output);
  }
}

// Likewise, transposed.
template <int GATES, int WIDTH, int LENGTH, int HELD>
DEVICE void take_rows(const Block& block, const real* matrix, Factor* slice) {
  for (int i = block.thread; i < H * GATES * U; i += THREADS) {
    const int k = i % (GATES * U), output = i / (GATES * U);
    take<Rows<GATES>, WIDTH, LENGTH, HELD>(block, matrix, slice, k, output);
  }
}

// part[s][row][output] = the sum over the s-th of SLICES parts of k of left[row][k] * right[k][output].
#if TENSOR_CORES
constexpr int WARPS = THREADS / 32;

// TERMS are words here. Of the 8 words of a product lane `member` of four takes 2 member and 2 member + 1, which lie
// side by side; the instruction calls them member and member + 4, and adds all 8.

// The k-th word of a column.
template <class Matrix>
DEVICE Word word_at(const Block& block, const real* matrix, int k, int output) {
#if PAIRS
  return pair_of(Matrix::at(block, matrix, 2 * k, output), Matrix::at(block, matrix, 2 * k + 1, output));
#else
  return Matrix::at(block, matrix, k, output);
#endif
}

// What a lane holds of a matrix for all time steps: of the first HELD steps of each part of a sum that its warp makes.
template <class Matrix, int OUTPUTS, int TERMS, int SLICES, int HELD>
DEVICE void hold(const Block& block, const real* matrix, Word (*held)[4]) {
  constexpr int TILES = (OUTPUTS + 15) / 16, LENGTH = (TERMS + 8 * SLICES - 1) / (8 * SLICES) * 8;
  constexpr int ITEMS = (TILES * SLICES + WARPS - 1) / WARPS;
  const int lane = block.thread % 32, group = lane / 4, member = lane % 4;
  UNROLL for (int i = 0; i < ITEMS; i++) {
    const int item = block.thread / 32 + i * WARPS, output = item % TILES * 16 + group;
    UNROLL for (int step = 0; step < HELD; step++) {
      const int k = item / TILES * LENGTH + 8 * step + 2 * member;
      UNROLL for (int j = 0; j < 4; j++)
        held[i * HELD + step][j] = word_at<Matrix>(block, matrix, k + j / 2, output + j % 2 * 8);
    }
  }
}

// Each warp makes 16 outputs of all rows. What depends on one another is a chain; several go on at once. Where all parts
// of a sum are of one length, nothing is asked between two multiplications, which then overlap with the next loads.
template <int OUTPUTS, int WIDTH, int TERMS, int LEFT_WIDTH, int SLICES, int HELD>
DEVICE void product(const Block& block, const Factor* left, const Factor* right, const Word (*held)[4], real* part) {
  constexpr int TILES = (OUTPUTS + 15) / 16, LENGTH = (TERMS + 8 * SLICES - 1) / (8 * SLICES) * 8, CHAINS = 4;
  constexpr int ITEMS = (TILES * SLICES + WARPS - 1) / WARPS, STEPS = LENGTH / 8;
  constexpr bool ALL_WARPS = TILES * SLICES % WARPS == 0, ALL_STEPS = (TERMS + 7) / 8 == SLICES * STEPS;
  const int lane = block.thread % 32, group = lane / 4, member = lane % 4;
  UNROLL for (int i = 0; i < ITEMS; i++) {
    const int item = block.thread / 32 + i * WARPS;
    if (!ALL_WARPS && item >= TILES * SLICES) break;
    const int first = item % TILES * 16 + group, slice = item / TILES;
    const int steps = ALL_STEPS ? STEPS : at_most(STEPS, (TERMS + 7) / 8 - slice * STEPS);
    const Word* const factors =
        reinterpret_cast<const Word*>(left) + group * LEFT_WIDTH + slice * LENGTH + 2 * member;
    // The rows of the slice begin with the first word that is not held.
    const Word* const rows =
        reinterpret_cast<const Word*>(right) + (slice * (LENGTH - 8 * HELD) + 2 * member) * WIDTH + first;
    real sums[CHAINS][4] = {};
    auto by_held = [&](int step) {
      Word b[2];
      load_2(factors + 8 * step, b);
      multiply_add(block, sums[step % CHAINS], held[i * HELD + step], b);
    };
    auto by_shared = [&](int step, int chain) {
      const Word* const values = rows + 8 * (step - HELD) * WIDTH;
      const Word a[4] = {values[0], values[8], values[WIDTH], values[WIDTH + 8]};
      Word b[2];
      load_2(factors + 8 * step, b);
      multiply_add(block, sums[chain], a, b);
    };
    UNROLL for (int step = 0; step < HELD; step++) {
      if (!ALL_STEPS && step >= steps) break;
      by_held(step);
    }
    constexpr int WHOLE = ALL_STEPS ? (STEPS - HELD) / CHAINS * CHAINS : 0;
    UNROLL_BY_2 for (int step = HELD; step < HELD + WHOLE; step += CHAINS) {
      UNROLL for (int chain = 0; chain < CHAINS; chain++) by_shared(step + chain, chain);
    }
    for (int step = HELD + WHOLE; step < steps; step += CHAINS) {
      UNROLL for (int chain = 0; chain < CHAINS; chain++) {
        if (step + chain >= steps) break;
        by_shared(step + chain, chain);
      }
    }
    UNROLL for (int i = 0; i < 4; i++) {
      const real sum = (sums[0][i] + sums[1][i]) + (sums[2][i] + sums[3][i]);
      part[(slice * ROWS + 2 * member + i % 2) * WIDTH + first + i / 2 * 8] = sum;
    }
  }
}
#else
// What a thread holds of a matrix for all time steps: of the first HELD steps of each part of a sum that it makes.
template <class Matrix, int OUTPUTS, int TERMS, int SLICES, int HELD>
DEVICE void hold(const Block& block, const real* matrix, real (*held)[4]) {
  constexpr int GROUPS = (OUTPUTS + 3) / 4, LENGTH = (TERMS + 4 * SLICES - 1) / (4 * SLICES) * 4;
  constexpr int ITEMS = (GROUPS * SLICES + THREADS - 1) / THREADS;
  UNROLL for (int i = 0; i < ITEMS; i++) {
    const int item = block.thread + i * THREADS, first = item % GROUPS * 4;
    UNROLL for (int step = 0; step < HELD; step++) {
      const int k = item / GROUPS * LENGTH + 4 * step;
      UNROLL for (int j = 0; j < 16; j++)
        held[4 * (i * HELD + step) + j / 4][j % 4] = Matrix::at(block, matrix, k + j / 4, first + j % 4);
    }
  }
}

// Each thread makes 4 outputs of all rows, so that for 128 multiplications it loads 8 vectors of 4, and 4 more where the
// matrix lies in shared memory.
template <int OUTPUTS, int WIDTH, int TERMS, int LEFT_WIDTH, int SLICES, int HELD>
DEVICE void product(const Block& block, const real* left, const real* right, const real (*held)[4], real* part) {
  constexpr int GROUPS = (OUTPUTS + 3) / 4, LENGTH = (TERMS + 4 * SLICES - 1) / (4 * SLICES) * 4, STEPS = LENGTH / 4;
  constexpr int ITEMS = (GROUPS * SLICES + THREADS - 1) / THREADS;
  constexpr bool ALL_THREADS = GROUPS * SLICES % THREADS == 0, ALL_STEPS = (TERMS + 3) / 4 == SLICES * STEPS;
  UNROLL for (int i = 0; i < ITEMS; i++) {
    const int item = block.thread + i * THREADS;
    if (!ALL_THREADS && item >= GROUPS * SLICES) break;
    const int first = item % GROUPS * 4, slice = item / GROUPS;
    const int steps = ALL_STEPS ? STEPS : at_most(STEPS, (TERMS + 3) / 4 - slice * STEPS);
    const real* const factors = left + slice * LENGTH;
    // The rows of the slice begin with the first term that is not held.
    const real* const rows = right + slice * (LENGTH - 4 * HELD) * WIDTH + first;
    real sums[ROWS][4] = {};
    auto add = [&](int step, const real (*values)[4]) {
      UNROLL for (int row = 0; row < ROWS; row++) {
        real factor[4];
        load_4(factors + row * LEFT_WIDTH + 4 * step, factor);
        UNROLL for (int k = 0; k < 4; k++)
          UNROLL for (int j = 0; j < 4; j++) sums[row][j] += factor[k] * values[k][j];
      }
    };
    UNROLL for (int step = 0; step < HELD; step++) {
      if (!ALL_STEPS && step >= steps) break;
      add(step, held + 4 * (i * HELD + step));
    }
    for (int step = HELD; step < steps; step++) {
      real values[4][4];
      UNROLL for (int k = 0; k < 4; k++) load_4(rows + (4 * (step - HELD) + k) * WIDTH, values[k]);
      add(step, values);
    }
    UNROLL for (int row = 0; row < ROWS; row++) store_4(part + (slice * ROWS + row) * WIDTH + first, sums[row]);
  }
}
#endif

// The sum of an output's parts, in their order.
template <int WIDTH, int SLICES>
DEVICE real whole(const real* part, int row, int output) {
  real sum = part[row * WIDTH + output];
  UNROLL for (int slice = 1; slice < SLICES; slice++) sum += part[(slice * ROWS + row) * WIDTH + output];
  return sum;
}

// Where an owner gets what a block sends it, among the other blocks in their order.
DEVICE int place_of(int from, int owner) { return from - (from > owner); }

// Each unit's part of a transposed product goes to the other block that owns the unit; to[place][row][own unit]. A thread
// has one unit and all rows, or where there are more threads than units some of the rows.
template <int WIDTH, int SLICES>
DEVICE void send_to_owners(const Block& block, const real* part, real* to) {
  constexpr int GROUPS = H < THREADS ? at_most(ROWS, THREADS / H) : 1, STRIDE = GROUPS > 1 ? H : THREADS;
  const int group = block.thread / STRIDE;
  if (group >= GROUPS) return;
  for (int unit = block.thread % STRIDE; unit < H; unit += STRIDE) {
    const int owner = unit / U;
    if (owner == block.rank) continue;
    real* const there = block.peer(to, owner) + place_of(block.rank, owner) * ROWS * U + unit % U;
    UNROLL for (int row = 0; row < ROWS; row += GROUPS) {
      if (GROUPS * (ROWS / GROUPS) == ROWS || row + group < ROWS)
        there[(row + group) * U] = whole<WIDTH, SLICES>(part, row + group, unit);
    }
  }
}

// What all blocks have of an own unit, added in the order of the blocks. Only where the own part comes in depends on the
// block; an address for each of the others that did would take a register each for all time steps.
template <int WIDTH, int SLICES>
DEVICE real collected(const Block& block, const real* part, const real* sent, const Element& e) {
  const real own = whole<WIDTH, SLICES>(part, e.own_row, e.unit);
  const real* const others = sent + e.own_row * U + e.own_unit;
  real sum = 0;
  UNROLL for (int i = 0; i < C; i++) {
    if (i == block.rank) sum += own;
    if (i < C - 1) sum += others[i * ROWS * U];
  }
  return sum;
}

// An operand's unit goes to all blocks; to[row][unit]. In bfloat16 it is half of a word, of which another thread stores
// the other half: each is a store of 2 bytes.
DEVICE void send_to_all(const Block& block, Factor* to, const Element& e, real value) {
  const Factor sent = operand(value);
  UNROLL for (int rank = 0; rank < C; rank++) {
    real* const there = block.peer(reinterpret_cast<real*>(to), rank);
    reinterpret_cast<Factor*>(there)[e.own_row * OPERAND_WIDTH * PACKED + e.unit] = sent;
  }
}

// What each block holds of all units before the first time step, of a state (N, T + 1, B, H).
DEVICE void take_first(const Block& block, const Arguments& a, const real* states, Factor* to) {
  for (int i = block.thread; i < ROWS * H; i += THREADS) {
    const int unit = i % H, own_row = i / H;
    const unsigned row = block.tile * ROWS + own_row, batch = a.batch;
    if (row < batch)
      to[own_row * OPERAND_WIDTH * PACKED + unit] =
          operand(states[place(block.run * unsigned(a.steps + 1) * batch + row, H, unit)]);
  }
}

// Where a term of an own unit lies: terms[row][own unit], the rows in other banks.
DEVICE real* term(real* terms, const Element& e) { return terms + e.own_row * TERMS_WIDTH + e.own_unit; }

// What a block's terms of a row come to, in the order of the units.
struct Sum {
  DEVICE_METHOD real start() const { return 0; }
  DEVICE_METHOD real add(real total, real* own) const { return total + *own; }
  DEVICE_METHOD real join(real a, real b) const { return a + b; }
};
struct Largest {
  DEVICE_METHOD real start() const { return -infinity(); }
  DEVICE_METHOD real add(real total, real* own) const { return maximum(total, *own); }
  DEVICE_METHOD real join(real a, real b) const { return maximum(a, b); }
};
struct Running : Sum {  // each term becomes the sum up to it
  DEVICE_METHOD real add(real total, real* own) const { return *own += total; }
};

// The totals of the block's rows go to all blocks: to[rank][row].
template <class Total>
DEVICE void send_totals(const Block& block, Total kind, real* terms, real* to) {
  const int left = H - block.rank * U, count = left < U ? left : U;  // the last blocks may have fewer units, or none
  ROLLED for (int row = block.thread; row < ROWS; row += THREADS) {
    real* const own = terms + row * TERMS_WIDTH;
    real total = kind.start();
    if (count == U) {  // then all are loaded before the first is added
      UNROLL for (int unit = 0; unit < U; unit++) total = kind.add(total, own + unit);
    } else {
      ROLLED for (int unit = 0; unit < count; unit++) total = kind.add(total, own + unit);
    }
    UNROLL for (int rank = 0; rank < C; rank++) block.peer(to, rank)[block.rank * ROWS + row] = total;
  }
}

// What the totals of all blocks come to, in the order of the blocks.
template <class Total>
DEVICE real total(Total kind, const real* totals, const Element& e) {
  real all = kind.start();
  UNROLL for (int rank = 0; rank < C; rank++) all = kind.join(all, totals[rank * ROWS + e.own_row]);
  return all;
}

// The sum of a row's units up to an own one.
DEVICE real up_to(const Block& block, real* terms, const real* totals, const Element& e) {
  real before = 0;
  for (int rank = 0; rank < block.rank; rank++) before += totals[rank * ROWS + e.own_row];
  return before + *term(terms, e);
}
