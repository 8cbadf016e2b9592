// One call of top-k: what is asked and where the answer goes; the method, its bytes and its bound: topk.cpp.
#pragma once

#include "model.h"

#include <atomic>

namespace headfirst {

struct TopK {
    const float* hidden;  // (rows, width)
    int rows;
    const int64_t* k;               // (rows), at least 1
    const int64_t* const* allowed;  // (rows) of sorted ids, null: every word; the whole may be null
    const int64_t* allowed_count;   // (rows)
    bool fast;
    int threads;
    int64_t answers;    // columns of ids and logprobs
    int64_t* ids;       // (rows, answers), -1 beyond the last word
    float* logprobs;    // (rows, answers), -inf there
    uint8_t* expanded;  // (rows, clusters)
    float* bound;       // (rows) what the log-probabilities may be wrong by; 0 where float32
};

// 0, or 1 + the index of a row that is not finite or whose logits would not be.
int topk(const Model& model, const TopK& call);

// Log-probabilities (rows) of `targets` (rows), each inside the vocabulary, and what they may be wrong by
// beyond float32 rounding: 0 unless `fast`. Returns as topk.
int target_logprobs(const Model& model, const float* hidden, const int64_t* targets, int rows, bool fast,
                    int threads, float* out, float* bound);

// The largest |logit| that is computed: beyond it float32 sums may overflow.
constexpr double LARGEST = 1e36;

// Up to this product of the norms of a row and of the heaviest word 8 bits are worth it: their slack is some
// 2% of it.
constexpr double SCREENABLE = 500;

// A bound of the error of a float32 dot product of `width` terms, a share of the product of the norms.
inline double rounding(int width) { return (width + 4) * 6.0e-8; }

double norm_of(const Level& level, const float* row, int width);  // not finite where an element is not

}  // namespace headfirst
