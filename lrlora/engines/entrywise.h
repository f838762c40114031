// What the functions p do to one row of a tile, in float32: a Chebyshev series, and a table of cubic cells. Included by
// entrywise.cpp, which see.
//
// Vectors are those of GCC and Clang (vector_size), which compile for any processor. There is no reassociation: NaN and
// infinity behave as in IEEE 754.

#pragma once

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
constexpr int UNIT = 4 * LANES;          // columns that are computed together
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

// What one call is about.
struct Job {
    int64_t m, n, r;
    Rows B, A, base, out, gradient;  // data is null where there is none
    const float* c;                  // coefficients of p
    int64_t count;
    bool table;
    float slope[2];                  // p'(1) and p'(-1), with which p goes on outside of [-1, 1]
    float derivative[MOST];          // coefficients of p', of a series
};

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

}  // namespace
