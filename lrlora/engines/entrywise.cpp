// Passes over the entries of P = p(BA) in float32: base + P forward; the gradient times p'(BA), and the gradient of the
// coefficients of p, backward. native.py builds this file and calls lrlora_entries; passes.py says what p may be.
//
// The matrix is cut into blocks of rows, and these into tiles of 4 x 256 entries, which stay in the L1 cache: BA, p, p'
// and the sums over the entries are computed tile by tile. Sums are kept per block and added in the order of the blocks,
// so that they do not depend on the number of threads.

#include <atomic>

#include "entrywise.h"

namespace {

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

// ---- blocks -----------------------------------------------------------------------------------------------------

// A call cut into blocks, which the threads take one after the other.
struct Blocks {
    Job job;
    int64_t rows, count;  // rows of a block, and blocks
    double* sums;         // (count, coefficients), zero
    std::atomic<int64_t> next;
    std::atomic<int> failed;
};

// What a thread works in.
struct Scratch {
    alignas(64) float t[ROWS * TILE];
    alignas(64) float base[TILE], out[TILE], gradient[TILE];  // a row of a tile that is not a multiple of UNIT wide
    SeriesState series;
    TableState table;
    double sums[MOST + 2][LANES];
    float* A;  // (r, TILE), for the same: zero where there are no columns
};

// Starts to read a row of a tile that the next iteration works on: the matrices come from memory and not from cache.
template <int WRITTEN>
void fetch(const Rows& matrix, int64_t i, int64_t j, int width) {
    if (!matrix.data) return;
    const float* row = matrix.data + i * matrix.stride + j;
    for (int k = 0; k < width; k += 16) __builtin_prefetch(row + k, WRITTEN, 2);
}

void row_of_tile(const Job& job, Scratch& s, const float* t, int64_t i, int64_t j, int width, int vectors) {
    float* gradient = job.gradient.data ? job.gradient.data + i * job.gradient.stride + j : nullptr;
    const float* base = job.base.data ? job.base.data + i * job.base.stride + j : nullptr;
    float* out = job.out.data ? job.out.data + i * job.out.stride + j : nullptr;
    float *gradient_ = gradient, *out_ = out;
    if (width % UNIT) {
        if (gradient) {
            gradient_ = static_cast<float*>(memcpy(s.gradient, gradient, 4 * size_t(width)));
            memset(s.gradient + width, 0, 4 * size_t(TILE - width));  // a NaN in B or t made NaN of the zeros before
        }
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
    if (width % UNIT) {
        if (gradient) memcpy(gradient, s.gradient, 4 * size_t(width));
        if (out) memcpy(out, s.out, 4 * size_t(width));
    }
}

// Sums of a tile in float32 go to those of the block in float64.
void flush_series(const Job& job, Scratch& s) {
    for (int64_t k = 0; k < MOST + 2; k++) {
        if (k == job.count) k = MOST;
        float lanes[LANES];
        store(lanes, s.series.sums[k]);
        for (int i = 0; i < LANES; i++) s.sums[k][i] += double(lanes[i]);
        s.series.sums[k] = V{};
    }
}

void finish_series(const Job& job, Scratch& s, double* sums) {
    double total[MOST + 2] = {};
    for (int64_t k = 0; k < MOST + 2; k++)
        for (int i = 0; i < LANES; i++) total[k] += s.sums[k][i];
    // Outside, T_k(+-1) + T_k'(+-1) (t -+ 1), with T_k'(1) = k^2 and T_k'(-1) = (-1)^(k+1) k^2.
    sums[0] = total[0];
    for (int64_t k = 1; k < job.count; k++)
        sums[k] = total[k] + double(k * k) * (total[MOST] + (k % 2 ? 1 : -1) * total[MOST + 1]);
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
        int width = job.n - j < TILE ? int(job.n - j) : TILE, vectors = (width + UNIT - 1) / UNIT * (UNIT / LANES);
        const float* A = job.A.data + j;
        int64_t lda = job.A.stride;
        if (width % UNIT) {
            for (int64_t k = 0; k < job.r; k++) memcpy(s.A + k * TILE, A + k * lda, 4 * size_t(width));
            A = s.A, lda = TILE;
        }
        for (int64_t i = first; i < last; i += ROWS) {
            int rows = last - i < ROWS ? int(last - i) : ROWS;
            const float* B = job.B.data + i * job.B.stride;
            for (int64_t k = i + ROWS; k < i + 2 * ROWS && k < last; k++) {
                fetch<0>(job.base, k, j, width);
                fetch<1>(job.gradient, k, j, width);
                fetch<1>(job.out, k, j, width);
            }
            if (rows == ROWS) {
                product<ROWS>(B, job.B.stride, A, lda, job.r, vectors, s.t);
            } else {
                for (int k = 0; k < rows; k++)
                    product<1>(B + k * job.B.stride, 0, A, lda, job.r, vectors, s.t + k * TILE);
            }
            for (int k = 0; k < rows; k++) row_of_tile(job, s, s.t + k * TILE, i + k, j, width, vectors);
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
    Blocks& blocks = *static_cast<Blocks*>(data);
    const Job& job = blocks.job;
    size_t cells = job.table && job.gradient.data ? size_t(job.count - 3) : 0;
    size_t head = (sizeof(Scratch) + 63) / 64 * 64, size = head + 4 * TILE * size_t(job.r) + 16 * cells + 128;
    void* memory = calloc(1, size);
    if (!memory) {
        blocks.failed = 1;
        return;
    }
    char* start = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(memory) + 63) / 64 * 64);
    Scratch& s = *reinterpret_cast<Scratch*>(start);
    s.A = reinterpret_cast<float*>(start + head);
    s.table.histogram = s.A + TILE * job.r;
    for (int64_t b; (b = blocks.next++) < blocks.count;) {
        int64_t first = b * blocks.rows, last = first + blocks.rows < job.m ? first + blocks.rows : job.m;
        block(job, s, first, last, blocks.sums ? blocks.sums + b * job.count : nullptr);
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
    Blocks blocks = {};
    Job& job = blocks.job;
    job.m = m, job.n = n, job.r = r, job.c = c, job.count = count, job.table = table;
    job.B = {B, ldb}, job.A = {A, lda}, job.base = {base, ldbase}, job.out = {out, ldout};
    job.gradient = {gradient, ldgradient};
    differentiate(job);
    int64_t entries = BLOCK;
    if (table && gradient) {
        if (entries < 4 * count) entries = 4 * count;
        if (entries < m * n / MOST_HISTOGRAMS) entries = m * n / MOST_HISTOGRAMS;
    }
    blocks.rows = ((entries + n - 1) / n + ROWS - 1) / ROWS * ROWS;
    blocks.count = (m + blocks.rows - 1) / blocks.rows;
    if (gradient) {
        blocks.sums = static_cast<double*>(calloc(size_t(blocks.count * count), sizeof(double)));
        if (!blocks.sums) return 1;
    }
    if (threads > blocks.count) threads = int(blocks.count);
    if (parallel && threads > 1) parallel(work, &blocks, unsigned(threads), 0);
    else work(&blocks);
    if (gradient) {
        for (int64_t k = 0; k < count; k++) {
            sums[k] = 0;
            for (int64_t b = 0; b < blocks.count; b++) sums[k] += blocks.sums[b * count + k];
        }
        free(blocks.sums);
    }
    return blocks.failed;
}
