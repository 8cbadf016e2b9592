// The first pass of top-k: logits of the short-list and of the cluster columns for a chunk of rows, and of
// each group of 64 words the maximum and the sum of exponentials.
#pragma once

#include "bound.h"
#include "topk.h"

namespace headfirst {

struct HeadPass {
    int rows = 0, groups = 0, stride = 0, columns_stride = 0;
    bool fast = false;
    std::vector<float> norm;       // Euclidean, of the hidden rows
    std::vector<float> code_norm;  // of what 8 bits lose of them (fast)
    std::vector<float> logits;     // [rows][stride], screened ones in the fast mode
    std::vector<float> columns;    // [rows][columns_stride] float32 logits of the clusters
    std::vector<float> high;       // [rows][groups] maximum of logit (fast: + slack)
    std::vector<float> low;        // [rows][groups] maximum of logit - slack; empty if exact
    std::vector<Mass> mass;        // [rows] of short-list and clusters
    Blocks blocks;                 // the hidden rows
    float* row(int r) { return logits.data() + (size_t)r * stride; }

    void run(const Model& model, const float* hidden, int rows, bool fast, int threads);
};

}  // namespace headfirst
