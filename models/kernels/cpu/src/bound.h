// What a partition function is known to that was made of screened logits: log Z = log sum(a_w e^d_w), where
// the errors d_w are not known, but |d_w| <= s_w = |h| r_w + |h - h'| |w'|. Two proofs of it:
//
// - word by word, it is between log sum(a_w e^-s_w) and log sum(a_w e^s_w), and the latter is farther off;
// - together, sum(a_w d_w) is at most |h| |R| |a| for the largest singular value |R| of all residuals (they
//   point anywhere, so it is far less than the sum of their norms), and |h - h'| sum(a_w |w'|);
//   1 + d <= e^d bounds Z from below, e^d - 1 - d <= e^s - 1 - s from above.
#pragma once

#include "tile.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace headfirst {

struct Mass {
    double shift = 0, sum = 0;  // Z = sum * e^shift: everything
    // Of screened words alone, as Spread has them; `over` is that of a_w (e^s_w - 1).
    double over = 0, by_residual = 0, by_norm = 0, square = 0;

    void add(double factor, const Spread& s) {
        sum += factor * s.sum, over += factor * ((double)s.upper - s.sum);
        by_residual += factor * s.by_residual, by_norm += factor * s.by_norm;
        square += factor * factor * s.square;
    }

    // The word's logit was `screened`, up to `slack`; it is `exact`. What is taken from float32 sums is a
    // little less than the word's share, so that their rounding is paid for.
    void rescored(const Screen& screen, int w, float norm, float code_norm, float screened, double exact) {
        const double a = std::exp(screened - shift), less = a * (1 - 2e-6);
        sum += std::exp(exact - shift) - a;
        // As Spread's `upper`.
        const double s = norm * screen.residual[w] + code_norm * screen.norm[w],
                     more = screen.slack(w / GROUP, norm, code_norm) <= 1 ? s * (1 + 0.7184 * s)
                                                                          : std::exp(s) * 1.00001 - 1;
        over -= less * more, by_residual -= less * screen.residual[w];
        by_norm -= less * screen.norm[w], square -= less * a;
    }

    double log() const { return shift + std::log(sum); }

    // The most by which log() is off, for a row of that norm that lost `code_norm`.
    float bound(const Screen& screen, double norm, double code_norm) const {
        const double residual = std::max(0.0, by_residual), all = norm * residual + code_norm * by_norm;
        const double together =
            norm * (screen.spectral * std::sqrt(std::max(0.0, square)) + screen.rounding * sum);
        const double first = std::min(norm * residual, together) + code_norm * std::max(0.0, by_norm);
        const double second = std::max(0.0, over - all);
        const double above = std::log1p((first + second) / sum),
                     below =
                         first < sum ? -std::log1p(-first / sum) : std::numeric_limits<double>::infinity();
        const double apart = std::log1p(std::max(0.0, over) / sum);
        return (float)(std::min(apart, std::max(above, below)) * 1.0001 + 3e-6);
    }
};

}  // namespace headfirst
