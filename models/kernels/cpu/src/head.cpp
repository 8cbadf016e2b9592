// See head.h. Reads the short-list's panels once for the chunk (exact: 4 bytes a weight, or 2 where the
// weights are float16 numbers; fast: 1), writes 4 bytes a logit. One row is bound by the weights' way from
// memory or L3; from some 6 rows (fast: 12) on by the multiply-add units.
#include "head.h"
#include "coded.h"
#include "pool.h"

#include <algorithm>
#include <cmath>

namespace headfirst {
void HeadPass::run(const Model& model, const float* hidden, int n, bool in_fast, int threads) {
    rows = n, fast = in_fast;
    const Level& level = *model.level;
    const Matrix& words = model.head.matrix;
    const Matrix& clusters = model.columns.matrix;
    const int all = words.groups + clusters.groups;
    groups = words.groups, stride = words.panels * LANES, columns_stride = clusters.panels * LANES;
    logits.resize((size_t)rows * stride), columns.resize((size_t)rows * columns_stride);
    high.resize((size_t)rows * groups), low.resize(fast ? (size_t)rows * groups : 0);
    // Every group's, columns' included, for the normalizer.
    std::vector<float> top((size_t)rows * all), sum((size_t)rows * all);
    std::vector<Spread> spread(fast ? (size_t)rows * groups : 0);
    blocks.fill(rows, model.width, [&](int i) { return hidden + (size_t)i * model.width; });
    Coded coded;
    CodedBlocks codes;
    if (fast) {
        coded.fill(
            level, rows, model.width, model.head.screen.width,
            [&](int i) { return hidden + (size_t)i * model.width; }, [&](int i) { return norm[(size_t)i]; });
        codes.fill(coded, rows, [](int i) { return i; });
    }
    code_norm = coded.residual;

    auto group = [&](int g) {
        const bool is_word = g < words.groups;
        const Matrix& m = is_word ? words : clusters;
        const int first = (is_word ? g : g - words.groups) * PANELS,
                  many = std::min(PANELS, m.panels - first);
        float* out = is_word ? logits.data() : columns.data();
        const int step = is_word ? stride : columns_stride;
        for (int b = 0; b < blocks.count(); b++) {
            float* z = out + (size_t)blocks.first[b] * step + first * LANES;
            if (fast && is_word)
                level.screen(model.head.screen, words.bias, first, many, codes.block(b), z, step);
            else
                level.logits(m, first, many, blocks.block(b), blocks.rows(b), z, step);
            for (int r = 0; r < blocks.rows(b); r++) {
                const size_t i = (size_t)(blocks.first[b] + r);
                if (fast && is_word) {
                    Spread& s = spread[i * groups + g];
                    level.spread(z + (size_t)r * step, many, model.head.screen, g, norm[i], code_norm[i], &s);
                    top[i * all + g] = s.top, high[i * groups + g] = s.high, low[i * groups + g] = s.low;
                } else {
                    level.stats(z + (size_t)r * step, many, &top[i * all + g], &sum[i * all + g]);
                    if (is_word) high[i * groups + g] = top[i * all + g];
                }
            }
        }
    };
    const int tasks = std::min(all, threads <= 1 ? 1 : 8 * threads);
    parallel(tasks, threads, [&](int t) {
        for (int g = (int)((int64_t)all * t / tasks); g < (int)((int64_t)all * (t + 1) / tasks); g++)
            group(g);
    });

    mass.assign(rows, {});
    for (int i = 0; i < rows; i++) {
        const float* tops = &top[(size_t)i * all];
        Mass& m = mass[i];
        m.shift = *std::max_element(tops, tops + all);
        for (int g = 0; g < all; g++) {
            const double factor = std::exp(tops[g] - m.shift);
            if (fast && g < groups)
                m.add(factor, spread[(size_t)i * groups + g]);
            else
                m.sum += factor * sum[(size_t)i * all + g];
        }
    }
}

}  // namespace headfirst
