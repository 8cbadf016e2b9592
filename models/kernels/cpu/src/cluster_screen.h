// An upper bound of the best word's log p(w | c) for some rows, from 8 bits: reads 1 byte a weight of the
// cluster, writes nothing but 128 bytes a row and thread. Wide clusters are bound by the 8-bit products,
// narrow ones (some 100 inputs and less) as much by the exponentials.
#pragma once

#include "coded.h"
#include "pool.h"

#include <limits>

namespace headfirst {

class ClusterScreen {
  public:
    // rows (n, width) as the cluster sees them, and their norms, rounded up.
    ClusterScreen(const Part& part, const Level& level, const std::vector<float>& rows,
                  const std::vector<float>& norms)
        : part_(part), level_(level), norms_(norms), n_((int)norms.size()) {
        const int width = part.matrix.width;
        blocks_.fill(n_, width, [&](int i) { return &rows[(size_t)i * width]; });
        coded_.fill(blocks_, rows.data(), n_, width, part.screen.width);
    }

    void run(int threads) {
        const int groups = part_.matrix.groups, tasks = std::min(groups, threads <= 1 ? 1 : 4 * threads);
        // The first group's largest logits stand for the cluster's: the sums are exact to 60 nats above them.
        shift_.resize((size_t)n_);
        each_tile(0, [&](int row, const float* z, int many) {
            float sum;
            level_.stats(z, many, &shift_[(size_t)row], &sum);
        });
        const size_t lanes = (size_t)n_ * LANES;
        top_.assign(lanes * tasks, -std::numeric_limits<float>::infinity()), sum_.assign(lanes * tasks, 0);
        parallel(tasks, threads, [&](int t) {
            float *top = &top_[lanes * t], *sum = &sum_[lanes * t];
            for (int g = (int)((int64_t)groups * t / tasks); g < (int)((int64_t)groups * (t + 1) / tasks);
                 g++)
                each_tile(g, [&](int row, const float* z, int many) {
                    const float slack =
                        part_.screen.slack(g, norms_[(size_t)row], coded_.residual[(size_t)row]);
                    level_.fold(z, many, slack, shift_[(size_t)row], top + row * LANES, sum + row * LANES);
                });
        });
        for (int t = 1; t < tasks; t++)
            for (size_t i = 0; i < lanes; i++)
                top_[i] = std::max(top_[i], top_[lanes * t + i]), sum_[i] += sum_[lanes * t + i];
    }

    // No word of row i has a larger log p(w | c).
    double best_word(int i) const {
        const float *tops = &top_[(size_t)i * LANES], *sums = &sum_[(size_t)i * LANES];
        const double top = *std::max_element(tops, tops + LANES);
        double mass = 0;
        for (int l = 0; l < LANES; l++) mass += sums[l];
        if (!(mass > 1e-20)) return 0;  // what is cut off at e^-87 may count
        // Sums of n positive float32 terms are off by n 2^-24 of their size at most.
        const double rounding = 2e-5 * (1 + std::fabs(top)) + 6e-8 * PANELS * part_.matrix.groups;
        return std::min(0.0, top - shift_[(size_t)i] - std::log(mass) + rounding);
    }

  private:
    template <class Row>
    void each_tile(int g, Row row) {
        const Matrix& m = part_.matrix;
        float tile[BLOCK * GROUP];
        const int first = g * PANELS, many = std::min(PANELS, m.panels - first);
        for (int b = 0; b < blocks_.count(); b++) {
            level_.screen(part_.screen, m.bias, first, many,
                          coded_.block(blocks_, b, part_.screen.width, norms_.data()), tile, GROUP);
            for (int r = 0; r < blocks_.rows(b); r++) row(blocks_.first[b] + r, tile + r * GROUP, many);
        }
    }

    const Part& part_;
    const Level& level_;
    const std::vector<float>& norms_;
    const int n_;
    Blocks blocks_;
    Coded coded_;
    std::vector<float> shift_, top_, sum_;  // top_, sum_: [tasks][rows][16]
};

}  // namespace headfirst
