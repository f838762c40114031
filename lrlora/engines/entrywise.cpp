// Passes over the entries of P = p(BA) in float32: base + P forward; the gradient times p'(BA), and the gradient of the
// coefficients of p, backward. native.py builds this file and calls lrlora_entries; passes.py says what p may be.
//
// The matrix is cut into blocks of rows, and these into tiles of 4 x 256 entries, which stay in the L1 cache: BA, p, p'
// and the sums over the entries are computed tile by tile. Sums are kept per block and added in the order of the blocks,
// so that they do not depend on the number of threads. Vectors are those of GCC and Clang (vector_size), which compile for
// any processor. There is no reassociation: NaN and infinity behave as in IEEE 754.

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

namespace {

typedef float V __attribute__((vector_size(4 * LANES)));
typedef int32_t I __attribute__((vector_size(4 * LANES)));
typedef float Four __attribute__((vector_size(16)));

constexpr int TILE = 256;                // columns of a tile
constexpr int VECTORS = TILE / LANES;    // vectors in a row of a tile
constexpr int ROWS = 4;                  // rows of a tile
constexpr int MOST = 65;                 // coefficients of a series
constexpr int STEP = 8;                  // coefficients of a series per pass over a tile
constexpr int64_t BLOCK = 1 << 15;       // entries of a block
constexpr int64_t MOST_HISTOGRAMS = 64;  // blocks for a table: each has a histogram

inline V load(const float* p) { V v; memcpy(&v, p, sizeof v); return v; }
inline void store(float* p, V v) { memcpy(p, &v, sizeof v); }
inline Four load4(const float* p) { Four v; memcpy(&v, p, sizeof v); return v; }
inline void store4(float* p, Four v) { memcpy(p, &v, sizeof v); }
inline V all(float x) { return x - V{}; }

// NaN stays NaN.
inline V clamp(V t) { t = t > all(1) ? all(1) : t; return t < all(-1) ? all(-1) : t; }
inline V above(V e) { return e > V{} ? e : V{}; }
inline V below(V e) { return e < V{} ? e : V{}; }

struct Rows { float* data; int64_t stride; };

struct Job {
    int64_t m, n, r;
    Rows B, A, base, out, gradient;  // data is null where there is none
    const float* c;                  // coefficients of p
    int64_t count;
    bool table;
    float slope[2];                  // p'(1) and p'(-1), with which p goes on outside of [-1, 1]
    float derivative[MOST];          // coefficients of p', of a series
    int64_t rows, blocks;            // rows of a block
    double* sums;                    // (blocks, count), zero
    std::atomic<int64_t> next;
    std::atomic<int> failed;
};

// ---- BA ---------------------------------------------------------------------------------------------------------

// t (ROWS, TILE) becomes BA on R rows and `vectors` vectors of columns, an even number.
template <int R>
void product(const float* B, int64_t ldb, const float* A, int64_t lda, int64_t r, int vectors, float* t) {
    for (int v = 0; v < vectors; v += 2) {
        V sum[R][2] = {};
        for (int64_t k = 0; k < r; k++) {
            const float* a = A + k * lda + v * LANES;
            V a0 = load(a), a1 = load(a + LANES);
            for (int i = 0; i < R; i++) {
                V b = all(B[i * ldb + k]);
                sum[i][0] += b * a0;
                sum[i][1] += b * a1;
            }
        }
        for (int i = 0; i < R; i++) {
            store(t + i * TILE + v * LANES, sum[i][0]);
            store(t + i * TILE + (v + 1) * LANES, sum[i][1]);
        }
    }
}

// ---- Series: sum c_k T_k ----------------------------------------------------------------------------------------

// out = base + p(t), by Clenshaw, four vectors at a time to hide the latency.
void series_values(const Job& job, const float* t, const float* base, float* out, int vectors) {
    const float* c = job.c;
    for (int v = 0; v < vectors; v += 4) {
        V x[4], b1[4], b2[4];
        for (int i = 0; i < 4; i++) {
            V clamped = clamp(load(t + (v + i) * LANES));
            x[i] = clamped + clamped;
            b1[i] = b2[i] = V{};
        }
        int64_t k = job.count - 1;
        for (; k >= 2; k -= 2) {
            for (int i = 0; i < 4; i++) b2[i] = x[i] * b1[i] + (c[k] - b2[i]);
            for (int i = 0; i < 4; i++) b1[i] = x[i] * b2[i] + (c[k - 1] - b1[i]);
        }
        if (k == 1)
            for (int i = 0; i < 4; i++) {
                V b = x[i] * b1[i] + (c[1] - b2[i]);
                b2[i] = b1[i];
                b1[i] = b;
            }
        for (int i = 0; i < 4; i++) {
            V half = 0.5f * x[i], e = load(t + (v + i) * LANES) - half;
            V p = half * b1[i] + (c[0] - b2[i]);
            p += job.slope[0] * above(e) + job.slope[1] * below(e);
            if (base) p += load(base + (v + i) * LANES);
            store(out + (v + i) * LANES, p);
        }
    }
}

struct SeriesState {
    V sums[MOST + 2];                               // of G T_k; then of G max(t - 1, 0) and G min(t + 1, 0)
    V x[VECTORS], a[VECTORS], b[VECTORS], p[VECTORS], q[VECTORS];  // between passes over one row: 2t, T_k, T_k-1, p, p'
};

// One pass over a row of a tile, for the coefficients k to k + K - 1. The first begins at k = 1 and does k = 0 as well; the
// last multiplies the gradient by p' and, if there is an out, sets it to base + p.
template <int K, bool FIRST, bool LAST, bool OUT>
void series_step(const Job& job, SeriesState& s, int64_t k, const float* t, float* gradient, const float* base, float* out,
                 int vectors) {
    const float *c = job.c + k, *d = job.derivative + k;
    V sum[K + 1], zeroth = s.sums[0], over = s.sums[MOST], under = s.sums[MOST + 1];
    for (int j = 0; j < K; j++) sum[j] = s.sums[k + j];
    for (int v = 0; v < vectors; v++) {
        V g = load(gradient + v * LANES), x, a, b, p = {}, q;
        if (FIRST) {
            V t_ = load(t + v * LANES);
            a = clamp(t_);
            V e = t_ - a, more = above(e), less = below(e);
            x = a + a;
            b = all(1);
            q = all(job.derivative[0]);
            if (OUT) p = job.c[0] + (job.slope[0] * more + job.slope[1] * less);
            zeroth += g;
            over += g * more;
            under += g * less;
        } else {
            x = s.x[v], a = s.a[v], b = s.b[v], q = s.q[v];
            if (OUT) p = s.p[v];
        }
        for (int j = 0; j < K; j++) {
            sum[j] += g * a;
            q += d[j] * a;
            if (OUT) p += c[j] * a;
            V next = x * a - b;
            b = a;
            a = next;
        }
        if (LAST) {
            // p' is a constant where p is (K = 0): a NaN in t reaches the gradient all the same.
            store(gradient + v * LANES, K == 0 ? g * (q + 0.0f * a) : g * q);
            if (OUT) {
                if (K == 0) p += 0.0f * a;
                if (base) p += load(base + v * LANES);
                store(out + v * LANES, p);
            }
        } else {
            s.x[v] = x, s.a[v] = a, s.b[v] = b, s.q[v] = q;
            if (OUT) s.p[v] = p;
        }
    }
    if (FIRST) s.sums[0] = zeroth, s.sums[MOST] = over, s.sums[MOST + 1] = under;
    for (int j = 0; j < K; j++) s.sums[k + j] = sum[j];
}

typedef void SeriesStep(const Job&, SeriesState&, int64_t, const float*, float*, const float*, float*, int);

template <bool FIRST, bool OUT>
SeriesStep* last_step(int64_t k) {
    static SeriesStep* const steps[] = {
        series_step<0, FIRST, true, OUT>, series_step<1, FIRST, true, OUT>, series_step<2, FIRST, true, OUT>,
        series_step<3, FIRST, true, OUT>, series_step<4, FIRST, true, OUT>, series_step<5, FIRST, true, OUT>,
        series_step<6, FIRST, true, OUT>, series_step<7, FIRST, true, OUT>, series_step<8, FIRST, true, OUT>,
    };
    return steps[k];
}

template <bool OUT>
void series_pull_back(const Job& job, SeriesState& s, const float* t, float* gradient, const float* base, float* out,
                      int vectors) {
    int64_t degree = job.count - 1, k = 1;
    if (degree <= STEP) {
        last_step<true, OUT>(degree)(job, s, k, t, gradient, base, out, vectors);
        return;
    }
    series_step<STEP, true, false, OUT>(job, s, k, t, gradient, base, out, vectors);
    for (k += STEP; degree - k + 1 > STEP; k += STEP)
        series_step<STEP, false, false, OUT>(job, s, k, t, gradient, base, out, vectors);
    last_step<false, OUT>(degree - k + 1)(job, s, k, t, gradient, base, out, vectors);
}

// ---- Table: piecewise cubic on `cells` uniform cells ------------------------------------------------------------

struct TableState {
    float *histogram, *nodes;  // (cells, 4): sums of G times the weights of the nodes of a cell
    double over, under;        // sums of G max(t - 1, 0) and G min(t + 1, 0)
    int32_t cell[TILE];
    float u[TILE], extra[TILE], four[4 * TILE], q[TILE];
};

// The cell of each entry, its place u in [0, 1] there, and what p has more outside of [-1, 1].
void table_places(const Job& job, TableState& s, const float* t, const float* gradient, int vectors) {
    int32_t cells = int32_t(job.count - 3), half = cells / 2;
    float scale = 0.5f * float(cells), shift = cells % 2 ? 0.5f : 0.0f;
    V over = {}, under = {};
    for (int v = 0; v < vectors; v++) {
        V t_ = load(t + v * LANES), a = clamp(t_), e = t_ - a, more = above(e), less = below(e);
        V x = scale * a + shift, finite = x == x ? x : V{};
        // Counted from the middle: t near 0 keeps its digits.
        I cell = __builtin_convertvector(finite, I);
        cell += __builtin_convertvector(cell, V) > finite;  // truncation to floor: a comparison gives -1
        I lowest = I{} - half, highest = lowest + (cells - 1);
        cell = cell < lowest ? lowest : cell;
        cell = cell > highest ? highest : cell;
        store(s.u + v * LANES, x - __builtin_convertvector(cell, V));
        cell += half;
        memcpy(s.cell + v * LANES, &cell, sizeof cell);
        store(s.extra + v * LANES, job.slope[0] * more + job.slope[1] * less);
        if (gradient) {
            V g = load(gradient + v * LANES);
            over += g * more;
            under += g * less;
        }
    }
    for (int i = 0; i < LANES; i++) s.over += over[i], s.under += under[i];
}

// Weights of the four nodes about a cell at place u in it, and their derivatives: cubic convolution (R. Keys, IEEE Trans.
// ASSP 29, 1981), a = -1/2.
inline void weights(float u, float w[4]) {
    float v = 1.0f - u;
    w[0] = -0.5f * u * v * v;
    w[1] = 1.0f + u * u * (1.5f * u - 2.5f);
    w[2] = 1.0f + v * v * (1.5f * v - 2.5f);
    w[3] = -0.5f * v * u * u;
}
inline void slopes(float u, float w[4]) {
    float v = 1.0f - u;
    w[0] = v * (1.5f * u - 0.5f);
    w[1] = u * (4.5f * u - 5.0f);
    w[2] = -v * (4.5f * v - 5.0f);
    w[3] = -u * (1.5f * v - 0.5f);
}

inline void gather(const Job& job, TableState& s, int width) {
    for (int i = 0; i < width; i++) store4(s.four + 4 * i, load4(job.c + s.cell[i]));
}

void table_values(TableState& s, const float* base, float* out, int width) {
    const float *four = s.four, *u = s.u;
    for (int i = 0; i < width; i++) {
        float w[4];
        weights(u[i], w);
        float p = w[0] * four[4 * i] + w[1] * four[4 * i + 1] + w[2] * four[4 * i + 2] + w[3] * four[4 * i + 3];
        out[i] = p + s.extra[i] + (base ? base[i] : 0.0f);
    }
}

void table_slopes(const Job& job, TableState& s, int width) {
    float scale = 0.5f * float(job.count - 3);
    const float *four = s.four, *u = s.u;
    for (int i = 0; i < width; i++) {
        float w[4];
        slopes(u[i], w);
        s.q[i] = scale * (w[0] * four[4 * i] + w[1] * four[4 * i + 1] + w[2] * four[4 * i + 2] + w[3] * four[4 * i + 3]);
    }
}

// Adds G times the weights to the histogram and multiplies G by p'.
void table_collect(TableState& s, float* gradient, int width) {
    float *four = s.four, *u = s.u;
    for (int i = 0; i < width; i++) {
        float w[4];
        weights(u[i], w);
        for (int j = 0; j < 4; j++) four[4 * i + j] = gradient[i] * w[j];
    }
    for (int i = 0; i < width; i++) {
        float* place = s.histogram + 4 * int64_t(s.cell[i]);
        store4(place, load4(place) + load4(four + 4 * i));
    }
    for (int i = 0; i < width; i++) gradient[i] *= s.q[i];
}

// ---- blocks -----------------------------------------------------------------------------------------------------

struct Scratch {
    alignas(64) float t[ROWS * TILE];
    alignas(64) float base[TILE], out[TILE], gradient[TILE];  // of a tile narrower than TILE, filled with zeros
    SeriesState series;
    TableState table;
    double sums[MOST + 2];
    float* A;  // (r, TILE), the same
};

void row_of_tile(const Job& job, Scratch& s, const float* t, int64_t i, int64_t j, int width) {
    float* gradient = job.gradient.data ? job.gradient.data + i * job.gradient.stride + j : nullptr;
    const float* base = job.base.data ? job.base.data + i * job.base.stride + j : nullptr;
    float* out = job.out.data ? job.out.data + i * job.out.stride + j : nullptr;
    float *gradient_ = gradient, *out_ = out;
    int vectors = (width + LANES - 1) / LANES;
    if (width < TILE) {
        vectors = (vectors + 3) / 4 * 4;
        if (gradient) gradient_ = static_cast<float*>(memcpy(s.gradient, gradient, 4 * size_t(width)));
        if (base) base = static_cast<float*>(memcpy(s.base, base, 4 * size_t(width)));
        if (out) out_ = s.out;
    }
    if (job.table) {
        table_places(job, s.table, t, gradient_, vectors);
        gather(job, s.table, width);
        if (gradient) table_slopes(job, s.table, width);
        if (out) table_values(s.table, base, out_, width);
        if (gradient) table_collect(s.table, gradient_, width);
    } else if (!gradient) {
        series_values(job, t, base, out_, vectors);
    } else if (out) {
        series_pull_back<true>(job, s.series, t, gradient_, base, out_, vectors);
    } else {
        series_pull_back<false>(job, s.series, t, gradient_, base, out_, vectors);
    }
    if (width < TILE) {
        if (gradient) memcpy(gradient, s.gradient, 4 * size_t(width));
        if (out) memcpy(out, s.out, 4 * size_t(width));
    }
}

// Sums of a tile in float32 go to those of the block in float64.
void flush_series(const Job& job, Scratch& s) {
    for (int64_t k = 0; k < MOST + 2; k++) {
        if (k == job.count) k = MOST;
        float lanes[LANES];
        double sum = 0;
        store(lanes, s.series.sums[k]);
        for (int i = 0; i < LANES; i++) sum += double(lanes[i]);
        s.sums[k] += sum;
        s.series.sums[k] = V{};
    }
}

void finish_series(const Job& job, Scratch& s, double* sums) {
    // Outside, T_k(+-1) + T_k'(+-1) (t -+ 1), with T_k'(1) = k^2 and T_k'(-1) = (-1)^(k+1) k^2.
    for (int64_t k = 0; k < job.count; k++)
        sums[k] = s.sums[k] + (k == 0 ? 0.0 : double(k * k) * (s.sums[MOST] + (k % 2 ? 1 : -1) * s.sums[MOST + 1]));
    memset(s.sums, 0, sizeof s.sums);
}

void flush_table(const Job& job, Scratch& s, double* sums) {
    int64_t cells = job.count - 3;
    for (int64_t i = 0; i < cells; i++)
        for (int j = 0; j < 4; j++) sums[i + j] += double(s.table.histogram[4 * i + j]);
    memset(s.table.histogram, 0, 16 * size_t(cells));
}

void finish_table(const Job& job, Scratch& s, double* sums) {
    // Outside, p'(1) = (v[cells + 2] - v[cells]) cells / 4 and p'(-1) = (v[2] - v[0]) cells / 4.
    int64_t cells = job.count - 3;
    double over = s.table.over * double(cells) / 4, under = s.table.under * double(cells) / 4;
    sums[cells + 2] += over, sums[cells] -= over, sums[2] += under, sums[0] -= under;
    s.table.over = s.table.under = 0;
}

void block(const Job& job, Scratch& s, int64_t first, int64_t last, double* sums) {
    int64_t flush_after = 4 * job.count > BLOCK ? 4 * job.count : BLOCK, collected = 0;
    for (int64_t j = 0; j < job.n; j += TILE) {
        int width = job.n - j < TILE ? int(job.n - j) : TILE, vectors = VECTORS;
        const float* A = job.A.data + j;
        int64_t lda = job.A.stride;
        if (width < TILE) {
            vectors = (width + 2 * LANES - 1) / LANES / 2 * 2;
            for (int64_t k = 0; k < job.r; k++) memcpy(s.A + k * TILE, A + k * lda, 4 * size_t(width));
            A = s.A, lda = TILE;
        }
        for (int64_t i = first; i < last; i += ROWS) {
            int rows = last - i < ROWS ? int(last - i) : ROWS;
            const float* B = job.B.data + i * job.B.stride;
            if (rows == ROWS) {
                product<ROWS>(B, job.B.stride, A, lda, job.r, vectors, s.t);
            } else {
                for (int k = 0; k < rows; k++)
                    product<1>(B + k * job.B.stride, 0, A, lda, job.r, vectors, s.t + k * TILE);
            }
            for (int k = 0; k < rows; k++) row_of_tile(job, s, s.t + k * TILE, i + k, j, width);
            if (!job.gradient.data) continue;
            if (!job.table) {
                flush_series(job, s);
            } else if ((collected += rows * width) >= flush_after) {
                flush_table(job, s, sums);
                collected = 0;
            }
        }
    }
    if (!job.gradient.data) return;
    if (job.table) flush_table(job, s, sums), finish_table(job, s, sums);
    else finish_series(job, s, sums);
}

// What each thread does: blocks, while there are any.
void work(void* data) {
    Job& job = *static_cast<Job*>(data);
    size_t cells = job.table && job.gradient.data ? size_t(job.count - 3) : 0;
    size_t head = (sizeof(Scratch) + 63) / 64 * 64, size = head + 4 * TILE * size_t(job.r) + 16 * cells + 128;
    void* memory = calloc(1, size);
    if (!memory) {
        job.failed = 1;
        return;
    }
    char* start = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(memory) + 63) / 64 * 64);
    Scratch& s = *reinterpret_cast<Scratch*>(start);
    s.A = reinterpret_cast<float*>(start + head);
    s.table.histogram = s.A + TILE * job.r;
    for (int64_t b; (b = job.next++) < job.blocks;) {
        int64_t first = b * job.rows, last = first + job.rows < job.m ? first + job.rows : job.m;
        block(job, s, first, last, job.sums ? job.sums + b * job.count : nullptr);
    }
    free(memory);
}

// p'(1) and p'(-1), and p' as a series.
void differentiate(Job& job) {
    int64_t last = job.count - 1;
    if (job.table) {
        const float* v = job.c;
        double cells = double(job.count - 3);
        job.slope[0] = float((double(v[last]) - double(v[last - 2])) * cells / 4);
        job.slope[1] = float((double(v[2]) - double(v[0])) * cells / 4);
        return;
    }
    double d[MOST + 2] = {}, right = 0, left = 0;
    for (int64_t k = last; k >= 1; k--) {
        d[k - 1] = d[k + 1] + 2 * double(k) * double(job.c[k]);
        right += double(k * k) * double(job.c[k]);
        left += (k % 2 ? 1 : -1) * double(k * k) * double(job.c[k]);
    }
    d[0] *= 0.5;
    for (int64_t k = 0; k <= last; k++) job.derivative[k] = float(d[k]);
    job.slope[0] = float(right), job.slope[1] = float(left);
}

}  // namespace

// Strides are counted in elements between rows; columns are contiguous. `parallel` is GOMP_parallel of the OpenMP runtime
// that PyTorch runs on, or null: one thread. `sums` (count) is set where there is a gradient. Returns 0, or 1 if memory
// is short.
extern "C" int lrlora_entries(void (*parallel)(void (*)(void*), void*, unsigned, unsigned), int threads, int table,
                              int64_t m, int64_t n, int64_t r, float* B, int64_t ldb, float* A, int64_t lda, float* c,
                              int64_t count, float* base, int64_t ldbase, float* out, int64_t ldout, float* gradient,
                              int64_t ldgradient, double* sums) {
    Job job = {};
    job.m = m, job.n = n, job.r = r, job.c = c, job.count = count, job.table = table;
    job.B = {B, ldb}, job.A = {A, lda}, job.base = {base, ldbase}, job.out = {out, ldout};
    job.gradient = {gradient, ldgradient};
    differentiate(job);
    int64_t entries = BLOCK;
    if (table && gradient) {
        if (entries < 4 * count) entries = 4 * count;
        if (entries < m * n / MOST_HISTOGRAMS) entries = m * n / MOST_HISTOGRAMS;
    }
    job.rows = ((entries + n - 1) / n + ROWS - 1) / ROWS * ROWS;
    job.blocks = (m + job.rows - 1) / job.rows;
    if (gradient && !(job.sums = static_cast<double*>(calloc(size_t(job.blocks * count), sizeof(double))))) return 1;
    if (threads > job.blocks) threads = int(job.blocks);
    if (parallel && threads > 1) parallel(work, &job, unsigned(threads), 0);
    else work(&job);
    if (gradient) {
        for (int64_t k = 0; k < count; k++) {
            double sum = 0;
            for (int64_t b = 0; b < job.blocks; b++) sum += job.sums[b * count + k];
            sums[k] = sum;
        }
        free(job.sums);
    }
    return job.failed;
}
