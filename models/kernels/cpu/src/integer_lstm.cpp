// The LSTM with weights of 8 bits: the plan of lstm.cpp, with rows quantized before each product.
//
// Reads, a chunk's step: a byte a weight of the hidden matrix and the projection, and 8 bytes a row and unit
// of gates; the input weights once a window of steps. 2 * (4 units * outputs + units * outputs) integer
// operations a word, with VNNI four times as many a second as float32 ones, with AVX2 twice as many; the
// cells' 5 exponentials and 2 divisions a unit are then a good part of the time.
#include "integer_lstm.h"
#include "lstm_chunk.h"

namespace headfirst {
namespace {

// Rows with their codes.
struct Coded {
    std::vector<uint8_t> codes;
    std::vector<float> scale;
    size_t stride = 0;

    void resize(int rows, int width) {
        stride = (size_t)(width + CODES_PADDING - 1) / CODES_PADDING * CODES_PADDING;
        if (codes.size() < rows * stride) codes.resize(rows * stride);
        if (scale.size() < (size_t)rows) scale.resize((size_t)rows);
    }
    void put(const IntegerLevel& level, int i, const float* row, int width) {
        scale[(size_t)i] = level.quantize(row, width, &codes[(size_t)i * stride]);
    }
    CodedRows rows(int first, int many) const {
        return {codes.data() + (size_t)first * stride, stride, scale.data() + first, many};
    }
};

// Kept by a thread between calls.
struct Scratch {
    std::vector<float> h, c, made, vectors;
    std::vector<uint16_t> gates;
    std::vector<const uint16_t*> given;  // (steps of the window, rows) the inputs' share of the gates
    std::vector<int> wanted;             // of the window, those whose gates are made
    Coded inputs, hidden, cells;
};

class Chunk : ChunkRows {
  public:
    Chunk(const IntegerLSTM& l, const LSTMCall& call, std::vector<int> rows, int threads, Scratch& scratch)
        : ChunkRows(l, call, std::move(rows), threads),
          l_(l),
          integers_(*l.integers),
          s_(scratch),
          made_stride_(l.cells() * LANES + LANES) {}

    void run() {
        s_.h.resize((size_t)n_ * l_.outputs), s_.c.assign((size_t)n_ * made_stride_, 0),
            s_.made.resize((size_t)n_ * made_stride_);
        s_.hidden.resize(n_, l_.outputs);
        s_.cells.resize(n_, l_.units);
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
        s_.wanted.clear();
        for (int t = first; t < end; t++)
            for (int i = 0, n = running(t); i < n; i++) {
                const int token = (t - first) * n_ + i;
                const int64_t id = call_.ids ? call_.ids[at(i, t)] : l_.tabled;
                if (id < l_.tabled)
                    s_.given[(size_t)token] = l_.table + (size_t)id * l_.stride();
                else
                    s_.wanted.push_back(token);
            }
        const int made = (int)s_.wanted.size();
        if (made == 0) return;
        code_inputs(first, made);
        if (s_.gates.size() < (size_t)made * l_.stride()) s_.gates.resize((size_t)made * l_.stride());
        uint16_t* gates = s_.gates.data();
        groups(l_.cells(), (int64_t)made * 4 * l_.units * l_.inputs,
               [&](int g) { l_.share(s_.inputs.rows(0, made), g, gates); });
        for (int k = 0; k < made; k++)
            s_.given[(size_t)s_.wanted[(size_t)k]] = gates + (size_t)k * l_.stride();
    }

    void code_inputs(int first, int made) {
        constexpr int WORDS = 16;  // whose vectors are made at once
        Scratch& s = s_;
        s.inputs.resize(made, l_.inputs);
        if (call_.ids) s.vectors.resize(std::max(s.vectors.size(), (size_t)made * l_.vector_stride()));
        groups((made + WORDS - 1) / WORDS, (int64_t)made * l_.inputs * l_.inputs / 2, [&](int g) {
            const int low = g * WORDS, high = std::min(made, low + WORDS);
            int64_t ids[WORDS];
            auto place = [&](int k) {
                return at(s.wanted[(size_t)k] % n_, first + s.wanted[(size_t)k] / n_);
            };
            if (call_.ids) {
                for (int k = low; k < high; k++) ids[k - low] = call_.ids[place(k)];
                l_.vectors(ids, high - low, &s.vectors[(size_t)low * l_.vector_stride()]);
            }
            for (int k = low; k < high; k++)
                s.inputs.put(integers_, k,
                             call_.ids ? &s.vectors[(size_t)k * l_.vector_stride()]
                                       : call_.vectors + place(k) * l_.inputs,
                             l_.inputs);
        });
    }

    // block(first, rows) for the blocks of n rows, of even sizes.
    template <class Block>
    static void blocks(int n, Block block) {
        const int many = (n + BLOCK - 1) / BLOCK;
        for (int b = 0; b < many; b++) {
            const int first = (int)((int64_t)n * b / many);
            block(first, (int)((int64_t)n * (b + 1) / many) - first);
        }
    }

    void step(int t, const uint16_t* const* given) {
        Scratch& s = s_;
        const int n = running(t);
        for (int i = 0; i < n; i++) s.hidden.put(integers_, i, &s.h[(size_t)i * l_.outputs], l_.outputs);
        groups(l_.cells(), (int64_t)n * l_.units * l_.outputs, [&](int g) {
            float tile[BLOCK * GROUP];
            blocks(n, [&](int first, int height) {
                const uint16_t* const* x = given + first;
                // A word's gates are read 128 bytes at a time, by no pattern that the processor sees.
                for (int i = 0; i < height; i++)
                    for (int line = 0; line < GROUP; line += 32) __builtin_prefetch(x[i] + g * GROUP + line);
                integers_.products(l_.from_hidden.matrix, g * PANELS, PANELS, s.hidden.rows(first, height),
                                   tile, GROUP);
                const size_t at = (size_t)first * made_stride_ + g * LANES;
                for (int i = 0; i < height; i++)
                    integers_.cell(tile + i * GROUP, x[i] + g * GROUP, &s.c[at + (size_t)i * made_stride_],
                                   &s.made[at + (size_t)i * made_stride_]);
            });
        });
        if (!l_.projected) {
            for (int i = 0; i < n; i++) put(t, i, &s.made[(size_t)i * made_stride_], 0, l_.outputs);
            return;
        }
        for (int i = 0; i < n; i++) s.cells.put(integers_, i, &s.made[(size_t)i * made_stride_], l_.units);
        const IntegerMatrix& projection = l_.projection.matrix;
        groups(projection.groups, (int64_t)n * l_.units * l_.outputs / 4, [&](int g) {
            float tile[BLOCK * GROUP];
            const int panels = std::min(PANELS, projection.panels - g * PANELS);
            blocks(n, [&](int first, int height) {
                integers_.products(projection, g * PANELS, panels, s.cells.rows(first, height), tile, GROUP);
                for (int i = 0; i < height; i++)
                    put(t, first + i, tile + i * GROUP, g * GROUP, std::min(GROUP, l_.outputs - g * GROUP));
            });
        });
    }

    void put(int t, int i, const float* row, int first, int many) {
        std::copy_n(row, many, &s_.h[(size_t)i * l_.outputs + first]);
        if (call_.out) std::copy_n(row, many, call_.out + at(i, t) * l_.outputs + first);
    }

    const IntegerLSTM& l_;
    const IntegerLevel& integers_;
    Scratch& s_;
    const int made_stride_;
};

}  // namespace

void IntegerLSTM::run(const LSTMCall& call) const { run_chunks<Chunk, Scratch>(*this, call); }

}  // namespace headfirst
