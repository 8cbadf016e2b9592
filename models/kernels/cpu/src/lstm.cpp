// The LSTM (Hochreiter & Schmidhuber 1997; projection: Sak et al. 2014), in float32.
//
// Rows go in chunks that fit L2, longest first, so that the rows that are still running are always the first
// ones and no padding is computed. The inputs' share of the gates comes from a table for frequent words; for
// other words, or vectors, it is one matrix product for some steps of the chunk. Then each step multiplies
// the hidden rows, applies the gates while a tile is in L1, and projects. Several threads share the chunks;
// where there are too few rows for that, the cells of each step.
//
// Reads, a chunk's step: the hidden weights and the projection (4 bytes a weight, 2 where they are float16
// numbers), and 16 bytes a row and unit of gates; the input weights once a window of steps. Writes the state,
// and the outputs if they are wanted. Few rows are bound by the weights' way from L3 or memory, from some 6
// rows on by the multiply-add units: 2 * (4 units * outputs + units * outputs) flop a word, and 8 * units *
// inputs where its gates are in no table.
#include "lstm.h"
#include "pool.h"

#include <algorithm>
#include <numeric>

namespace headfirst {
namespace {

constexpr int CHUNK = 48;                     // rows
constexpr int CHUNK_ROWS_WORTH_A_THREAD = 2;  // fewer: threads share cells
constexpr int64_t WORTH_SHARING = 1 << 17;    // multiply-adds
constexpr size_t WINDOW = 1 << 20;            // gates that are made at once: 4 MiB

// Kept by a thread between calls: fresh memory would cost more than the computation.
struct Scratch {
    std::vector<float> h, c, made, gates;
    std::vector<const float*> given;  // (steps of the window, rows) the inputs' share of the gates
    std::vector<int> tokens;          // of the window, those whose gates are made, by band
    Blocks blocks;
};

class Chunk {
  public:
    // `rows` are in descending order of length.
    Chunk(const LSTM& l, const LSTMCall& call, std::vector<int> rows, int threads, Scratch& scratch)
        : l_(l),
          call_(call),
          rows_(std::move(rows)),
          threads_(threads),
          s_(scratch),
          n_((int)rows_.size()),
          made_stride_(l.cells() * LANES + LANES) {}

    void run() {
        s_.h.resize((size_t)n_ * l_.outputs), s_.c.assign((size_t)n_ * made_stride_, 0),
            s_.made.resize((size_t)n_ * made_stride_);
        for (int i = 0; i < n_; i++) {
            const size_t at = (size_t)rows_[i] * call_.state_stride;
            std::copy_n(call_.h + at, l_.outputs, &s_.h[(size_t)i * l_.outputs]);
            std::copy_n(call_.c + at, l_.units, &s_.c[(size_t)i * made_stride_]);
        }
        const int64_t window = std::max<int64_t>(1, (int64_t)(WINDOW / (size_t)l_.stride()) / n_);
        for (int t = 0, end, longest = length(0); t < longest; t = end) {
            end = (int)std::min<int64_t>(longest, t + window);
            inputs(t, end);
            for (int s = t; s < end; s++) step(s, &s_.given[(size_t)(s - t) * n_]);
        }
        for (int i = 0; i < n_; i++) {
            const size_t at = (size_t)rows_[i] * call_.state_stride;
            std::copy_n(&s_.h[(size_t)i * l_.outputs], l_.outputs, call_.h_after + at);
            std::copy_n(&s_.c[(size_t)i * made_stride_], l_.units, call_.c_after + at);
            if (!call_.out) continue;
            float* out = call_.out + (size_t)rows_[i] * call_.steps * l_.outputs;
            std::fill(out + (size_t)length(i) * l_.outputs, out + (size_t)call_.steps * l_.outputs, 0.0f);
        }
    }

  private:
    int length(int i) const { return call_.lengths ? (int)call_.lengths[rows_[(size_t)i]] : call_.steps; }

    int running(int t) const {
        int n = n_;
        while (n > 0 && length(n - 1) <= t) n--;
        return n;
    }

    // Run group(g) for all g, shared among threads if there is enough to do.
    template <class Group>
    void groups(int n, int64_t work, Group group) {
        const int threads = work < WORTH_SHARING ? 1 : threads_;
        const int tasks = std::min(n, threads <= 1 ? 1 : 4 * threads);
        parallel(tasks, threads, [&](int t) {
            for (int g = (int)((int64_t)n * t / tasks); g < (int)((int64_t)n * (t + 1) / tasks); g++)
                group(g);
        });
    }

    // Where the gates' shares of steps first .. end - 1 are; those without a table are made.
    void inputs(int first, int end) {
        s_.given.assign((size_t)(end - first) * n_, nullptr);
        std::vector<std::vector<int>> wanted(call_.ids ? l_.bands.size() : 1);
        size_t made = 0;
        for (int t = first; t < end; t++)
            for (int i = 0, n = running(t); i < n; i++) {
                const int token = (t - first) * n_ + i;
                size_t band = 0;
                if (call_.ids) {
                    const int64_t id = call_.ids[(size_t)rows_[i] * call_.steps + t];
                    if (id < l_.tabled) {
                        s_.given[(size_t)token] = l_.table + (size_t)id * l_.stride();
                        continue;
                    }
                    while (id >= l_.bands[band].first + l_.bands[band].words) band++;
                }
                wanted[band].push_back(token);
                made++;
            }
        if (s_.gates.size() < made * l_.stride()) s_.gates.resize(made * l_.stride());
        float* to = s_.gates.data();
        for (size_t band = 0; band < wanted.size(); band++) {
            const std::vector<int>& tokens = wanted[band];
            if (tokens.empty()) continue;
            const Matrix& m = call_.ids ? l_.bands[band].gates.matrix : l_.from_input.matrix;
            s_.blocks.fill((int)tokens.size(), m.width,
                           [&](int k) { return input(tokens[(size_t)k], first, band); });
            const Blocks& blocks = s_.blocks;
            groups(m.groups, (int64_t)tokens.size() * m.words * m.width, [&](int g) {
                for (int b = 0; b < blocks.count(); b++)
                    l_.level->logits(m, g * PANELS, PANELS, blocks.block(b), blocks.rows(b),
                                     to + (size_t)blocks.first[b] * l_.stride() + g * GROUP, l_.stride());
            });
            for (int token : tokens) s_.given[(size_t)token] = to, to += l_.stride();
        }
    }

    const float* input(int token, int first, size_t band) const {
        const size_t at = (size_t)rows_[(size_t)(token % n_)] * call_.steps + first + token / n_;
        if (!call_.ids) return call_.vectors + at * l_.inputs;
        const WordBand& words = l_.bands[band];
        return words.rows + (size_t)(call_.ids[at] - words.first) * words.gates.matrix.width;
    }

    void step(int t, const float* const* given) {
        const Level& level = *l_.level;
        const Matrix &from_hidden = l_.from_hidden.matrix, &projection = l_.projection.matrix;
        const int n = running(t);
        Blocks& blocks = s_.blocks;
        blocks.fill(n, l_.outputs, [&](int i) { return &s_.h[(size_t)i * l_.outputs]; });
        groups(l_.cells(), (int64_t)n * 4 * l_.units * l_.outputs, [&](int g) {
            float tile[BLOCK * GROUP];
            for (int b = 0; b < blocks.count(); b++) {
                const int height = blocks.rows(b);
                const float* const* x = given + blocks.first[b];
                // A word's gates are read 256 bytes at a time, by no pattern that the processor sees.
                for (int i = 0; i < height; i++)
                    for (int line = 0; line < GROUP; line += 16) __builtin_prefetch(x[i] + g * GROUP + line);
                level.logits(from_hidden, g * PANELS, PANELS, blocks.block(b), height, tile, GROUP);
                const size_t at = (size_t)blocks.first[b] * made_stride_ + g * LANES;
                for (int i = 0; i < height; i++)
                    level.cell(tile + i * GROUP, x[i] + g * GROUP, &s_.c[at + (size_t)i * made_stride_],
                               &s_.made[at + (size_t)i * made_stride_]);
            }
        });
        auto put = [&](int i, const float* row, int first, int many) {
            std::copy_n(row, many, &s_.h[(size_t)i * l_.outputs + first]);
            if (call_.out)
                std::copy_n(row, many, call_.out + ((size_t)rows_[i] * call_.steps + t) * l_.outputs + first);
        };
        if (!l_.projected) {
            for (int i = 0; i < n; i++) put(i, &s_.made[(size_t)i * made_stride_], 0, l_.outputs);
            return;
        }
        blocks.fill(n, l_.units, [&](int i) { return &s_.made[(size_t)i * made_stride_]; });
        groups(projection.groups, (int64_t)n * l_.units * l_.outputs, [&](int g) {
            float tile[BLOCK * GROUP];
            const int panels = std::min(PANELS, projection.panels - g * PANELS);
            for (int b = 0; b < blocks.count(); b++) {
                level.logits(projection, g * PANELS, panels, blocks.block(b), blocks.rows(b), tile, GROUP);
                for (int i = 0; i < blocks.rows(b); i++)
                    put(blocks.first[b] + i, tile + i * GROUP, g * GROUP,
                        std::min(GROUP, l_.outputs - g * GROUP));
            }
        });
    }

    const LSTM& l_;
    const LSTMCall& call_;
    const std::vector<int> rows_;
    const int threads_;
    Scratch& s_;
    const int n_, made_stride_;
};

int check(const LSTM& l, const LSTMCall& call) {
    for (int r = 0; r < call.rows; r++) {
        const int64_t length = call.lengths ? call.lengths[r] : call.steps;
        if (length < 0 || length > call.steps) return BAD_LENGTH;
        if (call.ids)
            for (int t = 0; t < call.steps; t++) {
                const int64_t id = call.ids[(size_t)r * call.steps + t];
                if (id < 0 || id >= l.words) return BAD_WORD;
            }
    }
    return 0;
}

}  // namespace

int run_lstm(const LSTM& l, const LSTMCall& call) {
    if (const int wrong = check(l, call)) return wrong;
    std::vector<int> order((size_t)call.rows);
    std::iota(order.begin(), order.end(), 0);
    if (call.lengths)
        std::stable_sort(order.begin(), order.end(),
                         [&](int a, int b) { return call.lengths[a] > call.lengths[b]; });
    int chunks = (call.rows + CHUNK - 1) / CHUNK;
    if (call.rows >= call.threads * CHUNK_ROWS_WORTH_A_THREAD)
        chunks = (chunks + call.threads - 1) / call.threads * call.threads;
    parallel(chunks, call.threads, [&](int k) {
        static thread_local Scratch scratch;
        std::vector<int> rows;  // every chunk has rows of all lengths, so that they take equally long
        for (size_t i = (size_t)k; i < order.size(); i += (size_t)chunks) rows.push_back(order[i]);
        Chunk(l, call, std::move(rows), chunks > 1 ? 1 : call.threads, scratch).run();
    });
    return 0;
}

}  // namespace headfirst
