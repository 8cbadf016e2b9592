// Log-probabilities of given words, without a logit ever leaving the cache.
//
// Rows go in chunks through all tiles of the head; of a tile's logits only the maximum and the sum of
// exponentials stay. The target's own logit is a dot product in double. Rows whose target is in a tail
// cluster are sorted by cluster and pass through that cluster alone.
//
// Reads the head's panels once a chunk of up to 256 rows and each wanted cluster's once per 64 rows; writes 4
// bytes a row. Scratch: 8 bytes a row and group of 64 words. Bound by the multiply-add units from some 6 rows
// on: 2 * rows * (head + cluster) * width flop. Fast: the short-list in 8 bits, a quarter of the bytes and of
// the time; then every part of the answer but the head's normalizer is still exact.
#include "bound.h"
#include "coded.h"
#include "pool.h"
#include "topk.h"

#include <algorithm>
#include <cmath>

namespace headfirst {
namespace {

constexpr int CHUNK = 256;
constexpr int CLUSTER_ROWS = 64;

// log of the sum over all words of exp(logit), from groups' maxima and sums `step` apart; of the first groups
// of screened words more is known.
struct Sums {
    std::vector<float> top, sum;
    std::vector<Spread> spread;
    int groups = 0, screened = 0;
    void resize(int rows, int n, int n_screened) {
        groups = n, screened = n_screened;
        top.resize((size_t)rows * n), sum.resize((size_t)rows * n), spread.resize((size_t)rows * n_screened);
    }
    Mass mass(int row) const {
        const float *t = &top[(size_t)row * groups], *s = &sum[(size_t)row * groups];
        Mass mass;
        mass.shift = *std::max_element(t, t + groups);
        for (int g = 0; g < groups; g++) {
            const double factor = std::exp((double)t[g] - mass.shift);
            if (g < screened)
                mass.add(factor, spread[(size_t)row * screened + g]);
            else
                mass.sum += factor * s[g];
        }
        return mass;
    }
    // The same from screened logits of the short-list.
    void screen(const Model& model, int g, const CodedBlocks& blocks) {
        float tile[BLOCK * GROUP];
        const Matrix& m = model.head.matrix;
        const int first = g * PANELS, many = std::min(PANELS, m.panels - first);
        for (int b = 0; b < blocks.count(); b++) {
            const Codes codes = blocks.block(b);
            model.level->screen(model.head.screen, m.bias, first, many, codes, tile, GROUP);
            for (int r = 0; r < codes.rows; r++) {
                const size_t row = (size_t)(blocks.first[b] + r);
                Spread& s = spread[row * screened + g];
                model.level->spread(tile + r * GROUP, many, model.head.screen, g, codes.norm[r],
                                    codes.residual[r], &s);
                top[row * groups + g] = s.top;
            }
        }
    }
    // One group of words for all blocks; `at` is where its sums go.
    void pass(const Level& level, const Matrix& m, int g, const Blocks& blocks, int at) {
        float tile[BLOCK * GROUP];
        const int first = g * PANELS, many = std::min(PANELS, m.panels - first);
        for (int b = 0; b < blocks.count(); b++) {
            level.logits(m, first, many, blocks.block(b), blocks.rows(b), tile, GROUP);
            for (int r = 0; r < blocks.rows(b); r++) {
                const size_t i = (size_t)(blocks.first[b] + r) * groups + at;
                level.stats(tile + r * GROUP, many, &top[i], &sum[i]);
            }
        }
    }
};

// out[rows[i]] += log p(target | cluster) for n rows; false on overflow.
bool within(const Model& model, int c, const float* hidden, const int64_t* targets, const int* rows, int n,
            float* out) {
    const Level& level = *model.level;
    const Part& part = model.clusters[(size_t)c];
    const Matrix& m = part.matrix;
    const Matrix& projection = model.projections[(size_t)model.band_of[(size_t)c]].matrix;
    Blocks blocks;
    blocks.fill(n, model.width, [&](int i) { return hidden + (size_t)rows[i] * model.width; });
    const int stride = projection.panels * LANES;
    std::vector<float> projected((size_t)n * stride);
    for (int p = 0; p < projection.panels; p += PANELS)
        for (int b = 0; b < blocks.count(); b++)
            level.logits(projection, p, std::min(PANELS, projection.panels - p), blocks.block(b),
                         blocks.rows(b), &projected[(size_t)blocks.first[b] * stride + p * LANES], stride);
    for (int i = 0; i < n; i++)
        if (!(norm_of(level, &projected[(size_t)i * stride], m.width) * m.norm < LARGEST)) return false;
    blocks.fill(n, m.width, [&](int i) { return &projected[(size_t)i * stride]; });
    Sums sums;
    sums.resize(n, m.groups, 0);
    for (int g = 0; g < m.groups; g++) sums.pass(level, m, g, blocks, g);
    for (int i = 0; i < n; i++) {
        const double z = exact_logit(level, m, &projected[(size_t)i * stride], targets[rows[i]] - part.first);
        if (m.words > 1) out[rows[i]] += (float)std::min(0.0, z - sums.mass(i).log());
    }
    return true;
}

int chunk_logprobs(const Model& model, const float* hidden, const int64_t* targets, int rows, bool fast,
                   int threads, float* out, float* bound) {
    const Level& level = *model.level;
    const Matrix& words = model.head.matrix;
    const Matrix& columns = model.columns.matrix;
    const double heaviest = std::max(words.norm, columns.norm);
    std::vector<float> norms((size_t)rows);
    for (int i = 0; i < rows; i++) {
        const double norm = norm_of(level, hidden + (size_t)i * model.width, model.width);
        if (!(norm * heaviest < LARGEST)) return 1 + i;
        norms[(size_t)i] = (float)(norm * 1.000001);
        if (norm * heaviest > SCREENABLE) fast = false;
    }
    Blocks blocks;
    blocks.fill(rows, model.width, [&](int i) { return hidden + (size_t)i * model.width; });
    Sums sums;
    const int all = words.groups + columns.groups;
    sums.resize(rows, all, fast ? words.groups : 0);
    Coded coded;
    CodedBlocks codes;
    if (fast) {
        coded.fill(
            level, rows, model.width, model.head.screen.width,
            [&](int i) { return hidden + (size_t)i * model.width; }, [&](int i) { return norms[(size_t)i]; });
        codes.fill(coded, rows, [](int i) { return i; });
    }
    const int tasks = std::min(all, threads <= 1 ? 1 : 8 * threads);
    parallel(tasks, threads, [&](int t) {
        for (int g = (int)((int64_t)all * t / tasks); g < (int)((int64_t)all * (t + 1) / tasks); g++)
            if (g >= words.groups)
                sums.pass(level, columns, g - words.groups, blocks, g);
            else if (fast)
                sums.screen(model, g, codes);
            else
                sums.pass(level, words, g, blocks, g);
    });

    std::vector<std::pair<int, int>> tails;  // (cluster, row)
    for (int i = 0; i < rows; i++) {
        double z;
        if (targets[i] < words.words) {
            z = exact_logit(level, words, hidden + (size_t)i * model.width, targets[i]);
        } else {
            const auto above = std::upper_bound(model.clusters.begin(), model.clusters.end(), targets[i],
                                                [](int64_t id, const Part& part) { return id < part.first; });
            const int c = (int)(above - model.clusters.begin()) - 1;
            tails.push_back({c, i});
            z = exact_logit(level, columns, hidden + (size_t)i * model.width, c);
        }
        const Mass mass = sums.mass(i);
        out[i] = (float)(z - mass.log());
        bound[i] = fast ? mass.bound(model.head.screen, norms[(size_t)i], coded.residual[(size_t)i]) : 0;
    }
    std::sort(tails.begin(), tails.end());
    std::vector<int> order, edges;
    for (size_t i = 0; i < tails.size(); i++) {
        if (i == 0 || tails[i].first != tails[i - 1].first || (int)i - edges.back() == CLUSTER_ROWS)
            edges.push_back((int)i);
        order.push_back(tails[i].second);
    }
    edges.push_back((int)tails.size());
    std::atomic<bool> overflow{false};
    parallel((int)edges.size() - 1, threads, [&](int t) {
        const int first = edges[(size_t)t];
        if (!within(model, tails[(size_t)first].first, hidden, targets, &order[(size_t)first],
                    edges[(size_t)t + 1] - first, out))
            overflow = true;
    });
    return overflow ? 1 : 0;
}

}  // namespace

int target_logprobs(const Model& model, const float* hidden, const int64_t* targets, int rows, bool fast,
                    int threads, float* out, float* bound) {
    for (int first = 0; first < rows; first += CHUNK) {
        const int failed = chunk_logprobs(model, hidden + (size_t)first * model.width, targets + first,
                                          std::min(CHUNK, rows - first), fast && model.head.screen.width > 0,
                                          threads, out + first, bound + first);
        if (failed) return first + failed;
    }
    return 0;
}

}  // namespace headfirst
