// One LSTM layer, with or without a projection, for many short sequences at once: in float32 (`FloatLSTM`),
// or with weights of 8 bits (integer_lstm.h). What a step reads and writes, and its roofline, stand in
// lstm.cpp.
#pragma once

#include "model.h"

namespace headfirst {

struct LSTMCall {
    const float* vectors;  // (rows, steps, inputs), or null and
    const int64_t* ids;    // (rows, steps) words
    int rows, steps;
    const int64_t* lengths;    // (rows), or null: all `steps`
    const float *h, *c;        // the state before, (rows, outputs) and (rows, units),
    float *h_after, *c_after;  // and after; a row of any of the four is
    int64_t state_stride;      // floats after the one before it
    float* out;                // (rows, steps, outputs), 0 beyond a length; null: only the state is wanted
    int threads;
};

constexpr int BAD_LENGTH = 1, BAD_WORD = 2;

struct LSTM {
    const Level* level = nullptr;
    int inputs = 0, units = 0, outputs = 0;  // outputs: of the projection, or units
    bool projected = false;
    int64_t tabled = 0, words = 0;  // words 0 .. tabled - 1 have their inputs' share of the gates in a table
    virtual ~LSTM() = default;

    // Makes the gates of words 0 .. n - 1 from their vectors (n, inputs), where inputs may be words.
    virtual void add_table(const float* vectors, int64_t n) = 0;
    virtual void run(const LSTMCall& call) const = 0;
    int cells() const { return (units + LANES - 1) / LANES; }  // groups of 16 units
};

// 0, or why not.
int run_lstm(const LSTM& lstm, const LSTMCall& call);

// Words whose vectors are rows of one table times one matrix: the layer's input weights times the table's
// projection.
struct WordBand {
    Part gates;                    // (4 units, width), with the layer's bias
    const float* rows = nullptr;   // (words, width) float32, the caller's
    int64_t first = 0, words = 0;  // ids first .. first + words - 1
};

struct FloatLSTM : LSTM {
    // Gates of 16 units are one group of panels: 16 rows each of input, forget, cell and output gate.
    Part from_input, from_hidden, projection;
    std::vector<float> bias;       // (4 units)
    const float* table = nullptr;  // (tabled, stride())
    std::vector<WordBand> bands;   // the words beyond, up to `words`
    std::vector<Memory> memory;
    void add_table(const float* vectors, int64_t n) override;
    void run(const LSTMCall& call) const override;
    // Of a token's gates: not a power of two, for the caches' sake.
    int stride() const { return cells() * GROUP + LANES; }
};

// Weights as torch.nn.LSTM has them: (4 units, inputs), (4 units, outputs), biases (4 units) or null,
// projection (outputs, units) or null. Copied. `half`: input, hidden and projection weights are float16
// numbers (bits 0, 1, 2).
void pack_lstm(FloatLSTM& lstm, const float* input, const float* hidden, const float* input_bias,
               const float* hidden_bias, const float* projection, int half);

// After the table, 16 bytes a word and unit: bands of further words, in the order of ids. Rows (words, width)
// stay the caller's, `matrix` (4 units, width) is copied.
void add_band(FloatLSTM& lstm, const float* rows, const float* matrix, int64_t words, int width, bool half);

}  // namespace headfirst
