// Upper bounds of the best word's log p(w | c) in some clusters of one width for some rows, from 8 bits:
// reads a byte a weight of the clusters that any row asks for, once a call, and writes 12 bytes a row and
// piece. Wide clusters are bound by the 8-bit products, narrow ones (some 64 inputs and less) as much by the
// exponentials.
#pragma once

#include "coded.h"
#include "pool.h"

#include <limits>

namespace headfirst {

class ClusterScreen {
  public:
    // The rows as the clusters see them.
    ClusterScreen(const Level& level, const Coded& rows) : level_(level), rows_(rows) {}

    // Ask for the cluster's bound for `rows`; `c` is what the answer calls it.
    void ask(const Part& part, int c, std::vector<int> rows, int threads) {
        const int groups = part.matrix.groups, size = threads <= 1 ? groups : PIECE;
        asked_.push_back({&part, c, std::move(rows), {}, (int)pieces_.size()});
        for (int g = 0; g < groups; g += size)
            pieces_.push_back({(int)asked_.size() - 1, g, std::min(groups, g + size), {}});
    }

    void run(int threads) {
        for (Asked& a : asked_)
            a.blocks.fill(rows_, (int)a.rows.size(), [&](int i) { return a.rows[(size_t)i]; });
        parallel((int)pieces_.size(), threads, [&](int p) { scan(pieces_[(size_t)p]); });
    }

    // tell(c, row, bound) for all that was asked for: no word has a larger log p(w | c).
    template <class Tell>
    void results(Tell tell) const {
        for (size_t n = 0; n < asked_.size(); n++) {
            const Asked& a = asked_[n];
            const size_t end = n + 1 < asked_.size() ? (size_t)asked_[n + 1].first_piece : pieces_.size();
            for (size_t i = 0; i < a.rows.size(); i++) {
                double top = -std::numeric_limits<double>::infinity(), shift = top, mass = 0;
                for (size_t p = (size_t)a.first_piece; p < end; p++)
                    shift = std::max(shift, (double)pieces_[p].found[i].shift);
                for (size_t p = (size_t)a.first_piece; p < end; p++) {
                    const Found& f = pieces_[p].found[i];
                    top = std::max(top, (double)f.top);
                    mass += (f.shift == shift ? 1 : std::exp(f.shift - shift)) * f.mass;
                }
                tell(a.cluster, a.rows[i], best_word(*a.part, top, shift, mass));
            }
        }
    }

  private:
    static constexpr int PIECE = 16;  // groups that a thread takes at once

    struct Found {
        float top, shift, mass;  // words' largest logit from above; the sum of exp(z - shift) from below
    };
    struct Asked {
        const Part* part;
        int cluster;
        std::vector<int> rows;
        CodedBlocks blocks;
        int first_piece;
    };
    struct Piece {
        int asked, first, end;
        std::vector<Found> found;  // a row each
    };

    // No word's log p(w | c) is larger, where no logit is above `top` and the sum of exp(z - shift) is at
    // least `mass`.
    static double best_word(const Part& part, double top, double shift, double mass) {
        if (!(mass > 1e-20)) return 0;  // what is cut off at e^-87 may count
        // Sums of n positive float32 terms are off by n 2^-24 of their size at most.
        const double rounding = 2e-5 * (1 + std::fabs(top)) + 6e-8 * PANELS * part.matrix.groups;
        return std::min(0.0, top - shift - std::log(mass) + rounding);
    }

    void scan(Piece& piece) {
        const Asked& a = asked_[(size_t)piece.asked];
        const Matrix& m = a.part->matrix;
        const Screen& screen = a.part->screen;
        const size_t n = a.rows.size();
        piece.found.resize(n);
        constexpr float LOWEST = -std::numeric_limits<float>::infinity();
        static thread_local std::vector<float> lanes;
        lanes.assign(2 * n * LANES, 0);
        std::fill_n(lanes.begin(), n * LANES, LOWEST);
        float *top = lanes.data(), *sum = top + n * LANES;
        float tile[BLOCK * GROUP];
        for (int g = piece.first; g < piece.end; g++) {
            const int first = g * PANELS, many = std::min(PANELS, m.panels - first);
            for (int b = 0; b < a.blocks.count(); b++) {
                const Codes codes = a.blocks.block(b);
                level_.screen(screen, m.bias, first, many, codes, tile, GROUP);
                for (int r = 0; r < codes.rows; r++) {
                    const size_t i = (size_t)(a.blocks.first[b] + r);
                    const float* z = tile + r * GROUP;
                    // The first group's largest logit stands for the piece's: sums are exact to 60 nats
                    // above.
                    if (g == piece.first) {
                        float none;
                        level_.stats(z, many, &piece.found[i].shift, &none);
                    }
                    level_.fold(z, many, screen.slack(g, codes.norm[r], codes.residual[r]),
                                piece.found[i].shift, top + i * LANES, sum + i * LANES);
                }
            }
        }
        for (size_t i = 0; i < n; i++) {
            Found& f = piece.found[i];
            f.top = *std::max_element(top + i * LANES, top + (i + 1) * LANES), f.mass = 0;
            for (size_t l = 0; l < LANES; l++) f.mass += sum[i * LANES + l];
        }
    }

    const Level& level_;
    const Coded& rows_;
    std::vector<Asked> asked_;
    std::vector<Piece> pieces_;
};

}  // namespace headfirst
