// Exact top-k over the adaptive softmax.
//
// Words rank by log p(w) - const: a short-list word by its logit z_w, a word of cluster c by z_c + z_w - log
// Z_c. The head pass leaves a maximum a group of 64 words; the k-th largest of them bounds the k-th best
// word, and only groups that reach it are looked into. All that may belong to the k best, given the slack of
// the logits at hand (float32 rounding, or 8 bits), is rescored in double from the float32 rows in one fixed
// order. Clusters are then opened in descending order of what bounds their words, z_c or less, while that
// reaches the k-th best score; rows that want the same cluster share its pass. Before, all clusters that
// reach it are looked at in 8 bits, which proves of most that none of their words is among the k best. Order:
// the double scores, descending; equal ones by the smaller id.
//
// Reads the head (see head.cpp), each opened cluster's panels once per group of rows, and the float32 rows of
// the survivors (some k a row). Writes k ids and log-probabilities a row. Scratch: 4 bytes a head logit of up
// to 64 rows, 1 MiB of logits of a cluster, 8 bytes a group of 64 words.
#include "candidates.h"
#include "cluster_screen.h"
#include "head.h"
#include "pool.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace headfirst {
namespace {

constexpr int CHUNK = 64;            // rows of a head pass
constexpr int64_t STORED = 1 << 18;  // logits of a cluster that are kept; of larger ones some are made again
constexpr int64_t WORTH_SHARING = 1 << 19;  // multiply-adds that are worth waking another thread

bool worth_sharing(const Matrix& m, int n) { return (int64_t)n * m.words * m.width >= WORTH_SHARING; }

class Search {
  public:
    Search(const Model& model, const TopK& call, HeadPass& head, int first)
        : model_(model), call_(call), head_(head), first_(first) {}

    // Answer rows low .. high - 1 of the chunk, sharing large clusters' passes among `threads`.
    void run(int low, int high, int threads) {
        threads_ = threads;
        rows_.resize((size_t)(high - low));
        each(high - low, [&](int i) { begin(rows_[(size_t)i], low + i); });
        while (open_next()) {}
        each((int)rows_.size(), [&](int i) { answer(rows_[(size_t)i]); });
    }

    bool overflow = false;

  private:
    // work(i) for n rows, shared among the threads.
    template <class Work>
    void each(int n, Work work) {
        const int tasks = std::min(n, threads_ <= 1 ? 1 : 4 * threads_);
        parallel(tasks, threads_, [&](int t) {
            for (int i = n * t / tasks; i < n * (t + 1) / tasks; i++) work(i);
        });
    }

    void begin(Row& row, int i) {
        const int at = row.index = first_ + i;
        row.hidden = call_.hidden + (size_t)at * model_.width;
        row.model = &model_;
        row.k = call_.k[at];
        row.base.resize(model_.clusters.size()), row.cluster_z.resize(model_.clusters.size());
        row.allowed = call_.allowed ? call_.allowed[at] : nullptr;
        row.allowed_end = row.allowed ? row.allowed + call_.allowed_count[at] : nullptr;
        row.mass = head_.mass[(size_t)i], row.log_z = row.mass.log();
        const float* columns = head_.columns.data() + (size_t)i * head_.columns_stride;
        row.clusters.resize(model_.clusters.size());
        for (size_t c = 0; c < row.clusters.size(); c++)
            row.clusters[c] = usable(row, model_.clusters[c]) ? columns[c] + column_slack(i) : LOW;
        row.projected_norm.assign(model_.projections.size(), -1);
        row.projected.resize(model_.projections.size());
        float* high = &head_.high[(size_t)i * head_.groups];
        float* low = head_.fast ? &head_.low[(size_t)i * head_.groups] : nullptr;
        const double slack = rounding(model_.width) * head_.norm[i] * model_.head.matrix.norm;
        const View view{model_.head,
                        *model_.level,
                        row.hidden,
                        head_.row(i),
                        high,
                        low,
                        slack,
                        head_.norm[i],
                        head_.fast ? head_.code_norm[i] : 0,
                        head_.fast ? &model_.head.screen : nullptr,
                        0,
                        std::nan(""),
                        -1};
        mask(view, high, low);
        collect(row, view);
    }

    static bool usable(const Row& row, const Part& part) {
        if (!row.allowed) return (int)part.excluded.size() < part.matrix.words;
        const int64_t* from = std::lower_bound(row.allowed, row.allowed_end, part.first);
        const int64_t* to = std::lower_bound(from, row.allowed_end, part.first + part.matrix.words);
        int64_t n = to - from;
        for (int w : part.excluded) n -= std::binary_search(from, to, part.first + w);
        return n > 0;
    }

    double column(const Row& row, int c) const {
        const Matrix& m = model_.columns.matrix;
        return exact_logit(*model_.level, m, row.hidden, c);
    }

    // No column in float32 is off by more.
    float column_slack(int i) const {
        const Matrix& m = model_.columns.matrix;
        return (float)(1.01 * rounding(m.width) * head_.norm[(size_t)i] * m.norm);
    }

    // Open what may hold one of the k best words, all rows' at once so that they share the clusters' passes;
    // for a row without k words its most probable cluster. False: nothing does.
    bool open_next() {
        screen();
        std::vector<std::pair<int, Row*>> wanted;
        std::vector<double> promise(model_.clusters.size(), 0);  // the clusters of the best words come first
        for (Row& row : rows_) {
            if (row.clusters.empty()) continue;
            const auto first = std::max_element(row.clusters.begin(), row.clusters.end());
            if (row.kth == NONE && *first > LOW)
                wanted.push_back({(int)(first - row.clusters.begin()), &row});
            if (row.kth == NONE) continue;
            for (size_t c = 0; c < row.clusters.size(); c++)
                if (row.clusters[c] > LOW && row.clusters[c] >= row.kth) {
                    wanted.push_back({(int)c, &row});
                    promise[c] += row.clusters[c] - row.kth;
                }
        }
        std::stable_sort(wanted.begin(), wanted.end(), [&](const auto& a, const auto& b) {
            const double x = promise[(size_t)a.first], y = promise[(size_t)b.first];
            return x != y ? x > y : a.first < b.first;
        });
        for (size_t i = 0, j; i < wanted.size() && !overflow; i = j) {
            for (j = i; j < wanted.size() && wanted[j].first == wanted[i].first; j++) {}
            const size_t c = (size_t)wanted[i].first;
            const auto end = std::remove_if(&wanted[i], &wanted[i] + (j - i), [&](const auto& one) {
                return !(one.second->clusters[c] >= one.second->kth);
            });
            if (end > &wanted[i]) open((int)c, &wanted[i], (int)(end - &wanted[i]));
        }
        return !wanted.empty() && !overflow;
    }

    // The rows of n pairs as that band's clusters see them, once a row; from the head's blocks, so some of
    // them for rows that do not ask.
    void project(int band, std::pair<int, Row*>* wanted, int n) {
        const Matrix& m = model_.projections[(size_t)band].matrix;
        const Blocks& blocks = head_.blocks;
        std::vector<Row*> missing((size_t)head_.rows, nullptr);
        int rows = 0;
        for (int i = 0; i < n; i++)
            if (wanted[i].second->projected_norm[(size_t)band] < 0) {
                Row*& row = missing[(size_t)(wanted[i].second->index - first_)];
                rows += row == nullptr, row = wanted[i].second;
            }
        if (rows == 0) return;
        for (Row* row : missing)
            if (row) row->projected[(size_t)band].resize((size_t)m.words);
        share(m, rows, [&](int g) {
            float tile[BLOCK * GROUP];
            const int many = std::min(PANELS, m.panels - g * PANELS),
                      words = std::min(GROUP, m.words - g * GROUP);
            for (int b = 0; b < blocks.count(); b++) {
                Row** const some = &missing[(size_t)blocks.first[b]];
                if (std::all_of(some, some + blocks.rows(b), [](Row* row) { return row == nullptr; }))
                    continue;
                model_.level->logits(m, g * PANELS, many, blocks.block(b), blocks.rows(b), tile, GROUP);
                for (int r = 0; r < blocks.rows(b); r++)
                    if (some[r])
                        std::copy_n(tile + r * GROUP, words, &some[r]->projected[(size_t)band][g * GROUP]);
            }
        });
        for (Row* row : missing)
            if (row)
                row->projected_norm[(size_t)band] =
                    norm_of(*model_.level, row->projected[(size_t)band].data(), m.words);
    }

    // Run group(g) for all groups of `m`, on several threads if n rows are worth it.
    template <class Group>
    void share(const Matrix& m, int n, Group group) {
        const int threads = worth_sharing(m, n) ? threads_ : 1;
        const int tasks = std::min(m.groups, threads <= 1 ? 1 : 4 * threads);
        parallel(tasks, threads, [&](int t) {
            for (int g = (int)((int64_t)m.groups * t / tasks); g < (int)((int64_t)m.groups * (t + 1) / tasks);
                 g++)
                group(g);
        });
    }

    // Most clusters that compete by their own probability hold no word of the k best, and 8 bits prove it:
    // lowers those bounds, once a row.
    void screen() {
        std::vector<std::pair<int, Row*>> pending;  // (cluster, row)
        for (Row& row : rows_) {
            if (row.screened || row.kth == NONE) continue;
            row.screened = true;
            for (size_t c = 0; c < row.clusters.size(); c++)
                if (row.clusters[c] >= row.kth && model_.clusters[c].screen.width)
                    pending.push_back({(int)c, &row});
        }
        std::stable_sort(pending.begin(), pending.end(),
                         [](const auto& a, const auto& b) { return a.first < b.first; });
        for (size_t i = 0, j; i < pending.size(); i = j) {
            const int band = model_.band_of[(size_t)pending[i].first];
            for (j = i; j < pending.size() && model_.band_of[(size_t)pending[j].first] == band; j++) {}
            screen(band, &pending[i], (int)(j - i));
        }
    }

    // The same for n pairs of one band, in ascending order of clusters.
    void screen(int band, std::pair<int, Row*>* pending, int n) {
        project(band, pending, n);
        std::vector<Row*> rows;
        std::vector<int> place(rows_.size(), -1);  // in `rows`
        for (int i = 0; i < n; i++) {
            int& at = place[(size_t)(pending[i].second - rows_.data())];
            if (at < 0) at = (int)rows.size(), rows.push_back(pending[i].second);
        }
        const Matrix& m = model_.projections[(size_t)band].matrix;
        const auto norm = [&](int i) {
            return (float)(rows[(size_t)i]->projected_norm[(size_t)band] * 1.000001);
        };
        Coded coded;
        coded.fill(
            *model_.level, (int)rows.size(), m.words, (m.words + 3) / 4 * 4,
            [&](int i) { return rows[(size_t)i]->projected[(size_t)band].data(); }, norm);
        ClusterScreen screen(*model_.level, coded);
        int64_t work = 0;
        for (int i = 0, j; i < n; i = j) {
            const Part& part = model_.clusters[(size_t)pending[i].first];
            std::vector<int> asking;
            for (j = i; j < n && pending[j].first == pending[i].first; j++) {
                const int at = place[(size_t)(pending[j].second - rows_.data())];
                if (norm(at) * part.matrix.norm <= SCREENABLE) asking.push_back(at);
            }
            if (asking.empty()) continue;
            work += (int64_t)asking.size() * part.matrix.words * part.matrix.width;
            screen.ask(part, pending[i].first, std::move(asking), threads_);
        }
        screen.run(work >= WORTH_SHARING ? threads_ : 1);
        screen.results([&](int c, int row, double best) {
            float& bound = rows[(size_t)row]->clusters[(size_t)c];
            const double lower = bound + best;
            bound = (float)(lower + 1e-7 * std::fabs(lower));
        });
    }

    void open(int c, std::pair<int, Row*>* wanted, int n) {
        const int band = model_.band_of[(size_t)c];
        project(band, wanted, n);
        const Part& part = model_.clusters[(size_t)c];
        const Matrix& m = part.matrix;
        const Level& level = *model_.level;
        for (int i = 0; i < n; i++) {
            Row& row = *wanted[i].second;
            if (!(row.projected_norm[(size_t)band] * m.norm < LARGEST)) overflow = true;
            row.clusters[(size_t)c] = LOW;
        }
        if (overflow) return;
        const int stride = m.panels * LANES;
        const bool stored = (int64_t)n * stride <= STORED;
        Blocks blocks;
        blocks.fill(n, m.width, [&](int i) { return wanted[i].second->projected[(size_t)band].data(); });
        static thread_local std::vector<float> logits;  // kept between calls, at most STORED of them
        if (stored && logits.size() < (size_t)n * stride) logits.resize((size_t)n * stride);
        float* const kept = logits.data();
        std::vector<float> high((size_t)n * m.groups), sum((size_t)n * m.groups);
        auto group = [&](int g) {
            float tile[BLOCK * GROUP];
            const int first = g * PANELS, many = std::min(PANELS, m.panels - first);
            for (int b = 0; b < blocks.count(); b++) {
                float* z = stored ? kept + (size_t)blocks.first[b] * stride + first * LANES : tile;
                const int step = stored ? stride : GROUP;
                level.logits(m, first, many, blocks.block(b), blocks.rows(b), z, step);
                for (int r = 0; r < blocks.rows(b); r++) {
                    const size_t at = (size_t)(blocks.first[b] + r) * m.groups + g;
                    level.stats(z + (size_t)r * step, many, &high[at], &sum[at]);
                }
            }
        };
        share(m, n, group);
        each(n, [&](int i) {
            Row& row = *wanted[i].second;
            const double norm = row.projected_norm[(size_t)band];
            float* highs = &high[(size_t)i * m.groups];
            const double shift = *std::max_element(highs, highs + m.groups);
            double mass = 0;
            for (int g = 0; g < m.groups; g++)
                mass += std::exp(highs[g] - shift) * sum[(size_t)i * m.groups + g];
            const float* input = row.projected[(size_t)band].data();
            View view{part,
                      level,
                      input,
                      stored ? kept + (size_t)i * stride : nullptr,
                      highs,
                      nullptr,
                      rounding(m.width) * norm * m.norm,
                      0,
                      0,
                      nullptr,
                      column(row, c),
                      shift + std::log(mass),
                      c};
            if (m.words == 1) view.log_z = view.exact(0);  // it is the cluster: no rounding between them
            row.base[(size_t)c] = view.base, row.cluster_z[(size_t)c] = view.log_z;
            mask(view, highs, nullptr);
            collect(row, view);
        });
    }

    void answer(Row& row) {
        row.log_z = row.mass.log();
        row.settle();
        std::sort(row.best.begin(), row.best.end());
        int64_t* ids = call_.ids + (size_t)row.index * call_.answers;
        float* logprobs = call_.logprobs + (size_t)row.index * call_.answers;
        for (int64_t i = 0; i < call_.answers; i++) {
            const bool is_word = i < row.k && i < (int64_t)row.best.size();
            ids[i] = is_word ? row.best[(size_t)i].id : -1;
            logprobs[i] = is_word ? (float)(row.best[(size_t)i].score - row.log_z) : LOW;
        }
        expand(row);
        const size_t i = (size_t)(row.index - first_);
        call_.bound[row.index] =
            head_.fast ? row.mass.bound(model_.head.screen, head_.norm[i], head_.code_norm[i]) : 0;
    }

    // The clusters whose own probability reaches the k-th best word's: no other can hold one of the k best.
    void expand(const Row& row) const {
        const int i = row.index - first_;
        const float* columns = head_.columns.data() + (size_t)i * head_.columns_stride;
        uint8_t* expanded = call_.expanded + (size_t)row.index * model_.clusters.size();
        const double slack = column_slack(i);
        for (size_t c = 0; c < model_.clusters.size(); c++)
            expanded[c] = columns[c] + slack >= row.kth && usable(row, model_.clusters[c]) &&
                          (columns[c] - slack >= row.kth || column(row, (int)c) >= row.kth);
    }

    const Model& model_;
    const TopK& call_;
    HeadPass& head_;
    const int first_;
    int threads_ = 1;
    std::vector<Row> rows_;
};

}  // namespace

double norm_of(const Level& level, const float* row, int width) {
    return std::sqrt(level.dot(row, row, width));
}

int topk(const Model& model, const TopK& call) {
    // Kept between calls: megabytes of fresh memory would cost more than the computation.
    static thread_local HeadPass mine;
    HeadPass& head = mine;  // the helpers' lambdas must see this thread's
    std::atomic<bool> overflow{false};
    // Threads share the passes of large clusters; where all are small, each answers rows of its own.
    const bool large = std::any_of(model.clusters.begin(), model.clusters.end(),
                                   [](const Part& part) { return worth_sharing(part.matrix, 1); });
    for (int first = 0; first < call.rows; first += CHUNK) {
        const int rows = std::min(CHUNK, call.rows - first);
        const float* hidden = call.hidden + (size_t)first * model.width;
        const double heaviest = std::max(model.head.matrix.norm, model.columns.matrix.norm);
        head.norm.resize((size_t)rows);
        bool fast = call.fast && model.head.screen.width > 0;
        for (int i = 0; i < rows; i++) {
            const double norm = norm_of(*model.level, hidden + (size_t)i * model.width, model.width);
            if (!(norm * heaviest < LARGEST)) return 1 + first + i;
            head.norm[(size_t)i] = (float)(norm * 1.000001);
            if (norm * heaviest > SCREENABLE) fast = false;
        }
        head.run(model, hidden, rows, fast, call.threads);
        if (rows == 1 || call.threads <= 1 || large) {
            Search search(model, call, head, first);
            search.run(0, rows, call.threads);
            overflow = search.overflow;
        } else {
            const int tasks = std::min(rows, call.threads);
            parallel(tasks, call.threads, [&](int t) {
                Search search(model, call, head, first);
                search.run(rows * t / tasks, rows * (t + 1) / tasks, 1);
                if (search.overflow) overflow = true;
            });
        }
        if (overflow) return 1 + first;
    }
    return 0;
}

}  // namespace headfirst
