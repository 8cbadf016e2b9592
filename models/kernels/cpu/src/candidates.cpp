// See candidates.h. Reads the maxima of all groups, the logits of the groups that may hold one of the k best,
// and the float32 rows (4 bytes an input, from anywhere in memory) of the words that may: some k to 3 k of
// them.
#include "candidates.h"

#include <functional>

namespace headfirst {
namespace {

constexpr size_t AHEAD = 3;

void fetch(const Matrix& m, int64_t word) {
    const size_t first = (size_t)word * m.width;
    const char* at = m.half_rows ? (const char*)(m.half_rows + first) : (const char*)(m.rows + first);
    for (int j = 0; j < (m.half_rows ? 2 : 4) * m.width; j += 64) __builtin_prefetch(at + j);
}

struct Survivor {
    int word;
    float logit;  // as stored
    double high;  // it is at most this
};

// Score n survivors of screened logits exactly. Their rows lie all over memory: fetch the next ones while one
// is computed.
void rescore(Row& row, const View& view, const Survivor* found, size_t n) {
    for (size_t i = 0; i < n && i < AHEAD; i++) fetch(view.part.matrix, found[i].word);
    for (size_t i = 0; i < n; i++) {
        if (i + AHEAD < n) fetch(view.part.matrix, found[i + AHEAD].word);
        const double exact = view.exact(found[i].word);
        row.add({view.score(exact), view.part.first + found[i].word, 0, view.index});
        // Its share of the partition function is known now.
        row.mass.rescored(*view.screen, found[i].word, view.norm, view.code_norm, found[i].logit, exact);
    }
    row.prune();
}

// A float32 that is not above x.
float below(double x) { return (float)(x - std::fabs(x) * 1.2e-7); }

// A value that k of them reach: the k-th largest, or one of the next k / 32. Adds to the end of `values`.
float reached_by(const Level& level, std::vector<float>& values, int64_t k) {
    const auto by_sorting = [&] {
        std::nth_element(values.begin(), values.begin() + (k - 1), values.end(), std::greater<float>());
        return values[(size_t)k - 1];
    };
    constexpr int64_t FEW = 64;  // are sorted as fast as they are counted
    if ((int64_t)values.size() <= FEW) return by_sorting();
    values.resize((values.size() + GROUP - 1) / GROUP * GROUP, LOW);
    const auto count = [&](float least) {
        int64_t n = 0;
        for (size_t i = 0; i < values.size(); i += GROUP)
            n += __builtin_popcountll(level.reach(&values[i], nullptr, 0, nullptr, 0, PANELS, least));
        return n;
    };
    float lanes[LANES];  // compilers make vectors of them
    std::fill_n(lanes, LANES, LOW);
    for (size_t i = 0; i < values.size(); i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] = values[i + l] > lanes[l] ? values[i + l] : lanes[l];
    float high = *std::max_element(lanes, lanes + LANES), width = 1;
    for (; count(high - width) < k; width *= 2)
        if (width > 1e4f) return by_sorting();
    float low = high - width;
    for (int i = 0; i < 20; i++) {
        const float middle = low + (high - low) / 2;
        const int64_t n = count(middle);
        (n < k ? high : low) = middle;
        if (n >= k && n <= k + k / 32) break;
    }
    constexpr float NOT = std::numeric_limits<float>::infinity();
    std::fill_n(lanes, LANES, NOT);
    for (size_t i = 0; i < values.size(); i += LANES)
        for (int l = 0; l < LANES; l++) {
            const float value = values[i + l] >= low ? values[i + l] : NOT;
            lanes[l] = value < lanes[l] ? value : lanes[l];
        }
    return *std::min_element(lanes, lanes + LANES);
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
        slack_ = (float)(view_.slack * 1.0001 + rounded());
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
        const double kth = reached_by(view_.level, sure, row_.k);
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
        if (!(high >= least_ && z != LOW)) return;
        if (view_.screen)
            found_.push_back({w, z, high});
        else
            row_.add({view_.score(z), view_.part.first + w, slack_, view_.index});
    }

    // Use what was found: screened words are scored, the most promising first.
    void take() {
        if (!view_.screen) {
            if (row_.kth == NONE || (int64_t)row_.best.size() >= row_.k + row_.k / 6) row_.prune();
            least_ = std::max(least_, needed());
            return;
        }
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
    float slack_ = 0;  // of a score
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

void Row::prune() {
    if ((int64_t)best.size() < k) return;
    static thread_local std::vector<float> least;
    least.clear();
    for (const Candidate& c : best) least.push_back(below(c.least()));
    kth = std::max(kth, (double)reached_by(*model->level, least, k));
    best.erase(std::remove_if(best.begin(), best.end(), [&](const Candidate& c) { return c.most() < kth; }),
               best.end());
    if ((int64_t)best.size() > k + std::max<int64_t>(8, k / 8)) settle();  // many are about as good
}

void Row::settle() {
    const auto part_of = [&](const Candidate& c) -> const Part& {
        return c.part < 0 ? model->head : model->clusters[(size_t)c.part];
    };
    for (size_t i = 0; i < best.size(); i++) {
        if (i + AHEAD < best.size()) {
            const Candidate& next = best[i + AHEAD];
            fetch(part_of(next).matrix, next.id - part_of(next).first);
        }
        Candidate& c = best[i];
        if (c.slack == 0) continue;
        const Part& part = part_of(c);
        const float* input = c.part < 0 ? hidden : projected[(size_t)model->band_of[(size_t)c.part]].data();
        const double z = exact_logit(*model->level, part.matrix, input, c.id - part.first);
        c.score = c.part < 0 ? z : base[(size_t)c.part] + std::min(0.0, z - cluster_z[(size_t)c.part]);
        c.slack = 0;
    }
    if ((int64_t)best.size() > k) {
        std::nth_element(best.begin(), best.begin() + (k - 1), best.end());
        best.erase(best.begin() + k, best.end());
    }
    if ((int64_t)best.size() == k) kth = std::max(kth, std::max_element(best.begin(), best.end())->score);
}

}  // namespace headfirst
