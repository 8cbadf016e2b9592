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
#include "lstm_chunk.h"

#include <algorithm>

namespace headfirst {
namespace {

// Kept by a thread between calls: fresh memory would cost more than the computation.
struct Scratch {
    std::vector<float> h, c, made, gates;
    std::vector<const float*> given;  // (steps of the window, rows) the inputs' share of the gates
    std::vector<int> tokens;          // of the window, those whose gates are made, by band
    Blocks blocks;
};

class Chunk : ChunkRows {
  public:
    Chunk(const FloatLSTM& l, const LSTMCall& call, std::vector<int> rows, int threads, Scratch& scratch)
        : ChunkRows(l, call, std::move(rows), threads),
          l_(l),
          s_(scratch),
          made_stride_(l.cells() * LANES + LANES) {}

    void run() {
        s_.h.resize((size_t)n_ * l_.outputs), s_.c.assign((size_t)n_ * made_stride_, 0),
            s_.made.resize((size_t)n_ * made_stride_);
        load(s_.h.data(), s_.c.data(), made_stride_);
        windows(l_.stride(), [&](int t, int end) {
            inputs(t, end);
            for (int s = t; s < end; s++) step(s, &s_.given[(size_t)(s - t) * n_]);
        });
        store(s_.h.data(), s_.c.data(), made_stride_);
    }

  private:
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

    const FloatLSTM& l_;
    Scratch& s_;
    const int made_stride_;
};

}  // namespace

void FloatLSTM::run(const LSTMCall& call) const { run_chunks<Chunk, Scratch>(*this, call); }

int run_lstm(const LSTM& l, const LSTMCall& call) {
    for (int r = 0; r < call.rows; r++) {
        const int64_t length = call.lengths ? call.lengths[r] : call.steps;
        if (length < 0 || length > call.steps) return BAD_LENGTH;
        if (call.ids)
            for (int t = 0; t < call.steps; t++) {
                const int64_t id = call.ids[(size_t)r * call.steps + t];
                if (id < 0 || id >= l.words) return BAD_WORD;
            }
    }
    l.run(call);
    return 0;
}

}  // namespace headfirst
