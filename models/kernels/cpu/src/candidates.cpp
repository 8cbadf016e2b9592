// See candidates.h. Reads the maxima of all groups, the logits of the groups that may hold one of the k best,
// and the float32 rows (4 bytes an input, from anywhere in memory) of the words that may: some k to 3 k of
// them.
#include "candidates.h"

#include <functional>

namespace headfirst {
namespace {

struct Survivor {
    int word;
    float logit;  // as stored
    double high;  // it is at most this
};

// Score n survivors exactly. Their rows lie all over memory: fetch the next ones while one is computed.
void rescore(Row& row, const View& view, const Survivor* found, size_t n) {
    const Matrix& m = view.part.matrix;
    constexpr size_t AHEAD = 3;
    auto fetch = [&](size_t i) {
        const size_t first = (size_t)found[i].word * m.width;
        const char* at = m.half_rows ? (const char*)(m.half_rows + first) : (const char*)(m.rows + first);
        for (int j = 0; j < (m.half_rows ? 2 : 4) * m.width; j += 64) __builtin_prefetch(at + j);
    };
    for (size_t i = 0; i < n && i < AHEAD; i++) fetch(i);
    for (size_t i = 0; i < n; i++) {
        if (i + AHEAD < n) fetch(i + AHEAD);
        const double exact = view.exact(found[i].word);
        row.best.push_back({view.score(exact), view.part.first + found[i].word});
        if (view.screen) {  // its share of the partition function is known now
            const double share = std::exp(exact - row.shift);
            row.mass += share - std::exp(found[i].logit - row.shift);
            row.upper += share - std::exp(found[i].high - row.shift);
        }
    }
    row.prune();
}

// The words of one part that a row may be answered with, if it has a list: null, null if it has none.
struct Allowed {
    const int64_t *from = nullptr, *to = nullptr;
    Allowed(const Row& row, const Part& part) {
        if (!row.allowed) return;
        from = std::lower_bound(row.allowed, row.allowed_end, part.first);
        to = std::lower_bound(from, row.allowed_end, part.first + part.matrix.words);
    }
    int64_t count() const { return to - from; }
};

class Collector {
  public:
    Collector(Row& row, const View& view)
        : row_(row), view_(view), m_(view.part.matrix), allowed_(row, view.part) {}

    void run() {
        least_ = needed();
        bound_from_below();
        if (row_.allowed) {
            for (const int64_t* a = allowed_.from; a < allowed_.to; a++) {
                const int w = (int)(*a - view_.part.first);
                consider(w, logit(w));
            }
            take();
            return;
        }
        // The most promising groups first: their exact scores rule out most of the others.
        std::vector<int> groups;
        for (int g = 0; g < m_.groups; g++)
            if (reaches(g)) groups.push_back(g);
        const size_t first = std::min(groups.size(), enough());
        std::nth_element(groups.begin(), groups.begin() + (int64_t)first, groups.end(),
                         [&](int a, int b) { return view_.high[a] > view_.high[b]; });
        for (size_t i = 0; i < first; i++) look_into(groups[i]);
        take();
        for (size_t i = first; i < groups.size(); i++)
            if (reaches(groups[i])) look_into(groups[i]);
        take();
    }

  private:
    size_t enough() const { return (size_t)row_.k + (size_t)row_.k / 2 + 4; }

    // What sums of a few doubles of this size may be off by.
    double rounded() const {
        return 1e-13 * (std::fabs(row_.kth == NONE ? 0 : row_.kth) + std::fabs(view_.base) +
                        (std::isnan(view_.log_z) ? 0 : std::fabs(view_.log_z)) + 1);
    }

    // Only logits from here on can matter, as the row stands.
    double needed() const {
        if (row_.kth == NONE) return NONE;
        return row_.kth - rounded() - view_.base + (std::isnan(view_.log_z) ? 0 : view_.log_z);
    }

    float logit(int w) {
        if (w / GROUP != last_) z_ = view_.group(last_ = w / GROUP, scratch_);
        return z_[w % GROUP];
    }

    // Raise `least_` to what the k-th best word of this part has at least.
    void bound_from_below() {
        const int64_t available =
            row_.allowed ? allowed_.count() : m_.words - (int64_t)view_.part.excluded.size();
        if (available <= row_.k) return;
        std::vector<float> sure;  // lower bounds of distinct words' logits
        if (row_.allowed) {
            for (const int64_t* a = allowed_.from; a < allowed_.to; a++) {
                const int w = (int)(*a - view_.part.first);
                sure.push_back((float)(logit(w) - view_.slack_of(w)));
            }
        } else if (m_.groups >= row_.k) {
            const float* bounds = view_.low ? view_.low : view_.high;
            sure.assign(bounds, bounds + m_.groups);
        } else if (row_.kth == NONE) {
            for (int w = 0; w < m_.words; w++) sure.push_back((float)(logit(w) - view_.slack_of(w)));
        }
        if ((int64_t)sure.size() < row_.k) return;
        std::nth_element(sure.begin(), sure.begin() + (row_.k - 1), sure.end(), std::greater<float>());
        const double kth = sure[(size_t)row_.k - 1];
        // Groups' maxima of exact logits still lack their slack, the others their float32 rounding.
        const double sure_of = kth - (view_.screen ? 1e-6 * std::fabs(kth) : view_.slack) - rounded();
        // All words from log_z on have the same score, so the smallest ids among them count.
        least_ = std::max(least_, std::isnan(view_.log_z) ? sure_of : std::min(sure_of, view_.log_z));
    }

    bool reaches(int g) const {
        return view_.high[g] + (view_.screen ? 1e-6 * std::fabs(view_.high[g]) : view_.slack) >= least_;
    }

    void look_into(int g) {
        const float* z = view_.group(g, scratch_);
        last_ = -1;
        const int panels = std::min(PANELS, m_.panels - g * PANELS), at = g * GROUP;
        const float edge = (float)(least_ - 1e-6 * std::fabs(least_) - (view_.screen ? 0 : view_.slack));
        uint64_t reaching = view_.screen
                                ? view_.level.reach(z, view_.screen->residual + at, view_.norm,
                                                    view_.screen->norm + at, view_.code_norm, panels, edge)
                                : view_.level.reach(z, nullptr, 0, nullptr, 0, panels, edge);
        for (; reaching; reaching &= reaching - 1) {
            const int j = __builtin_ctzll(reaching);
            if (at + j < m_.words) consider(at + j, z[j]);
        }
    }

    void consider(int w, float z) {
        const double high = z + view_.slack_of(w);
        if (high >= least_ && z != LOW) found_.push_back({w, z, high});
    }

    // Score what was found, the most promising first.
    void take() {
        size_t first = std::min(found_.size(), enough());
        if (first < found_.size())
            std::nth_element(found_.begin(), found_.begin() + (int64_t)first, found_.end(),
                             [](const Survivor& a, const Survivor& b) { return a.high > b.high; });
        rescore(row_, view_, found_.data(), first);
        least_ = std::max(least_, needed());
        const auto end = std::remove_if(found_.begin() + (int64_t)first, found_.end(),
                                        [&](const Survivor& s) { return s.high < least_; });
        rescore(row_, view_, found_.data() + first, (size_t)(end - found_.begin()) - first);
        least_ = std::max(least_, needed());
        found_.clear();
    }

    Row& row_;
    const View& view_;
    const Matrix& m_;
    const Allowed allowed_;
    double least_ = NONE;
    std::vector<Survivor> found_;
    int last_ = -1;
    const float* z_ = nullptr;
    float scratch_[GROUP];
};

}  // namespace

void mask(const View& view, float* high, float* low) {
    float scratch[GROUP];
    for (size_t i = 0; i < view.part.excluded.size(); i++) {
        const int w = view.part.excluded[i], g = w / GROUP;
        if (view.stored) view.stored[w] = LOW;
        if (i + 1 < view.part.excluded.size() && view.part.excluded[i + 1] / GROUP == g) continue;
        const float* z = view.group(g, scratch);
        high[g] = LOW;
        if (low) low[g] = LOW;
        for (int j = 0; j < GROUP && g * GROUP + j < view.part.matrix.words; j++) {
            const double slack = view.screen ? view.slack_of(g * GROUP + j) : 0;
            high[g] = std::max(high[g], (float)(z[j] + slack));
            if (low) low[g] = std::max(low[g], (float)(z[j] - slack));
        }
    }
}

void collect(Row& row, const View& view) { Collector(row, view).run(); }

}  // namespace headfirst
