// The pieces that every instruction set provides, and the packed weights that they read.
//
// A weight matrix (words, width) is packed into groups of 64 words, of 4 panels of 16 (fewer at the end): for
// each input j in turn the 64 weights, so that a group is one stream. A vector register is then 16 words at
// one input, a logit is one lane, summed over j in ascending order: so its bits do not depend on the batch,
// the threads or the tile it is in. Hidden rows come in blocks of up to 6, packed as [input][row].
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

// Before a loop of constant length over sums: without it GCC keeps them in memory.
#define UNROLL _Pragma("GCC unroll 12")

namespace headfirst {

constexpr int LANES = 16;
constexpr int PANELS = 4;              // panels of a group
constexpr int GROUP = LANES * PANELS;  // words whose maximum and sum are kept instead of their logits
constexpr int BLOCK = 6;               // hidden rows that a tile computes at once

// Where panel p of `panels` begins in such an array, and the distance between its inputs, in units of 16
// weights.
struct Place {
    size_t begin;
    int step;
    Place(int p, int panels, int width)
        : begin((size_t)(p / PANELS * PANELS) * width + p % PANELS),
          step(panels - p / PANELS * PANELS < PANELS ? panels - p / PANELS * PANELS : PANELS) {}
};

struct Matrix {
    int words = 0, width = 0;
    int panels = 0, groups = 0;
    bool half = false;            // float16 panels: only where the weights are float16 numbers, so no loss
    const void* panel = nullptr;  // [groups][width][panels of the group][16]
    const float* bias = nullptr;  // [panels][16], -inf for the padding words
    const float* rows = nullptr;  // (words, width) float32, the caller's own, for exact rescoring,
    const uint16_t* half_rows = nullptr;  // or the same numbers as float16, if `half`
    const float* row_bias = nullptr;      // (words) or null
    double norm = 0;                      // the largest Euclidean norm of a row with its bias
};

// A matrix in 8 bits for screening: w = scale * (q - 128) + residual, in quads of inputs:
// [groups][width / 4][panels of the group][16][4].
struct Screen {
    int panels = 0;
    int width = 0;  // of the packed rows: a multiple of 4, padded with zeros
    const uint8_t* panel = nullptr;
    const float* scale = nullptr;     // [panels][16]
    const float* norm = nullptr;      // [panels][16] Euclidean norms of scale * (q - 128)
    const float* residual = nullptr;  // [panels][16] Euclidean norms of the residuals, rounded up
    const float *group_norm = nullptr, *group_residual = nullptr;  // [groups] their largest
    // At least the largest singular value of the matrix of residuals; infinite: not known.
    double spectral = std::numeric_limits<double>::infinity();
    double rounding = 0;  // what `residual` has beyond a residual's norm, at most

    // No screening logit of a group is off by more, for a row of norm `norm` that lost `code_norm`.
    float slack(int g, float norm, float code_norm) const {
        return (norm * group_residual[g] + code_norm * group_norm[g]) * 1.000001f;
    }
};

// A block of hidden rows in few bits, `planes` numbers an input: h = scale * (q0 + q1 / 254) + residual.
struct Codes {
    const int8_t* codes = nullptr;  // [width / 4][rows * planes][4] int8, or int16 for `wide_codes`
    int rows = 0, planes = 1;
    const float* scale = nullptr;     // per row
    const float* norm = nullptr;      // per row, Euclidean norm of h
    const float* residual = nullptr;  // per row, Euclidean norm of the residual
    const int32_t* sums = nullptr;    // per row and plane, 128 times the sum of the codes
};

// Of the screened logits z of a group, each at most s = norm * residual + code_norm * |w'| off, with
// a = exp(z - top).
struct Spread {
    float top, high, low;                // the largest z, z + s and z - s
    float sum, upper;                    // sums of a, and of at least a e^s
    float by_residual, by_norm, square;  // sums of a * residual, a * |w'| and a * a
};

struct Level {
    const char* name;
    bool half;          // float16 panels are read at no great cost
    bool quick_screen;  // 8 bits are multiplied faster than float32
    bool wide_codes;    // hidden rows of 16 bits are multiplied with weights of 8 as fast as those of 8

    // out[r * stride + w] = logits of the words of panels first .. first + n - 1 for a block of rows
    // [width][rows].
    void (*logits)(const Matrix&, int first, int n, const float* block, int rows, float* out, int stride);

    // maximum and sum of exp(z - maximum) of n panels of logits.
    void (*stats)(const float* logits, int n, float* maximum, float* sum);

    // The dot product in double: 16 partial sums over inputs j mod 16, added pairwise. The same bits
    // everywhere.
    double (*dot)(const float* a, const float* b, int n);
    double (*dot_half)(const float* a, const uint16_t* b, int n);

    // Screening logits z' of n panels.
    void (*screen)(const Screen&, const float* bias, int first, int n, const Codes&, float* out, int stride);

    // Of n panels of screening logits of group g.
    void (*spread)(const float* z, int n, const Screen&, int g, float norm, float code_norm, Spread*);

    // Adds n panels of screening logits, each at most `slack` off, to a row's bounds in 16 lanes: top, the
    // largest logit's from above; sum, that of the sum of exp(z - shift) from below, to 6% and but for
    // rounding.
    void (*fold)(const float* out, int n, float slack, float shift, float* top, float* sum);

    // Bit w: z[w] + norm * residual[w] + code_norm * norms[w] >= least, of n panels; residual null: z[w] >=
    // least.
    uint64_t (*reach)(const float* z, const float* residual, float norm, const float* norms, float code_norm,
                      int n, float least);

    // 16 LSTM cells: the two shares of their gates (16 each of input, forget, cell, output) -> c in place,
    // and h.
    void (*cell)(const float* from_hidden, const float* from_input, float* c, float* h);
};

extern const Level scalar_level;
#if defined(__x86_64__)
extern const Level avx2_level;
extern const Level avx512_level;
#endif

}  // namespace headfirst
