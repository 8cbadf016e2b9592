// An upper bound of the best word's log p(w | c) for some rows, from 8 bits: reads 1 byte a weight of the cluster.
#pragma once

#include "coded.h"

namespace headfirst {

class ClusterScreen {
  public:
    // rows (n, width) as the cluster sees them, and their norms, rounded up.
    ClusterScreen(const Part& part, const Level& level, const std::vector<float>& rows, const std::vector<float>& norms)
        : part_(part), level_(level), norms_(norms) {
        const int n = (int)norms.size(), width = part.matrix.width;
        blocks_.fill(n, width, [&](int i) { return &rows[(size_t)i * width]; });
        coded_.fill(blocks_, rows.data(), n, width, part.screen.width);
        const size_t size = (size_t)n * part.matrix.groups;
        high_.resize(size), sum_.resize(size), upper_.resize(size);
    }

    // Screen one group of words; groups may be screened by different threads.
    void group(int g) {
        const Matrix& m = part_.matrix;
        float tile[BLOCK * GROUP], slack[BLOCK * GROUP];
        const int first = g * PANELS, many = std::min(PANELS, m.panels - first);
        for (int b = 0; b < blocks_.count(); b++) {
            level_.screen(part_.screen, m.bias, first, many, coded_.block(blocks_, b, part_.screen.width, norms_.data()), tile, slack, GROUP);
            for (int r = 0; r < blocks_.rows(b); r++) {
                const size_t at = (size_t)(blocks_.first[b] + r) * m.groups + g;
                float tops[2], sums[2];
                level_.screen_stats(tile + r * GROUP, slack + r * GROUP, many, tops, sums);
                high_[at] = tops[0], sum_[at] = sums[0], upper_[at] = sums[1];
            }
        }
    }

    // No word of row i has a larger log p(w | c). log Z_c is bounded from below by Cauchy and Schwarz:
    // sum exp(z' - e) >= (sum exp z')^2 / sum exp(z' + e).
    double best_word(int i) const {
        const int groups = part_.matrix.groups;
        const float* high = &high_[(size_t)i * groups];
        const double top = *std::max_element(high, high + groups);
        double mass = 0, most = 0;
        for (int g = 0; g < groups; g++) {
            const double factor = std::exp((float)(high[g] - top));
            mass += factor * sum_[(size_t)i * groups + g], most += factor * upper_[(size_t)i * groups + g];
        }
        const double log_z = top + 2 * std::log(mass) - std::log(most);
        return std::min(0.0, top - log_z) + 1e-5 * (1 + std::fabs(top));
    }

  private:
    const Part& part_;
    const Level& level_;
    const std::vector<float>& norms_;
    Blocks blocks_;
    Coded coded_;
    std::vector<float> high_, sum_, upper_;
};

}  // namespace headfirst
