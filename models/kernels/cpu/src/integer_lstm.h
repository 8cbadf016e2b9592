// One LSTM layer with weights of 8 bits; models/bodies/quantized_lstm.py defines its results, to the bit.
#pragma once

#include "integer.h"
#include "lstm.h"

#include <vector>

namespace headfirst {

struct IntegerPart {
    IntegerMatrix matrix;
    std::vector<Memory> memory;
};

// Words of one table of the embedding, of which the layer makes their vectors.
struct VectorBand {
    const float* rows;     // (words, width) float32, the caller's,
    int64_t first, words;  // of ids first .. first + words - 1
    int width;
    float scale;                 // The vectors are the rows times this
    std::vector<float> columns;  // and times this: [width][vector_stride()]; empty: the rows alone
};

struct IntegerLSTM : LSTM {
    const IntegerLevel* integers = nullptr;
    // Gates of 16 units are one group of panels, as in FloatLSTM.
    IntegerPart from_input, from_hidden, projection;
    std::vector<float> bias;          // (cells, 64)
    const uint16_t* table = nullptr;  // (tabled, stride()) float16
    std::vector<VectorBand> bands;    // all words
    std::vector<Memory> memory;
    void add_table(const float* vectors, int64_t n) override;
    void run(const LSTMCall& call) const override;
    // Of a token's gates: not a power of two, for the caches' sake.
    int stride() const { return cells() * GROUP + 2 * LANES; }
    int input_stride() const;  // bytes of an input's codes
    int vector_stride() const { return (inputs + LANES - 1) / LANES * LANES; }
    // Further words: rows (words, width) and projection (inputs, width), or null; it is copied.
    void add_vectors(const float* rows, const float* projection, float scale, int64_t words, int width);
    // The vectors of n words, to rows of vector_stride().
    void vectors(const int64_t* ids, int n, float* out) const;
    // The shares of the gates of cells 16 g .. 16 g + 15 for coded inputs, to rows of stride().
    void share(const CodedRows& inputs, int g, uint16_t* out) const;
};

struct Weights8 {
    const int8_t* values;  // (rows, columns)
    const float* scale;    // (rows)
};

// Weights as QuantizedLSTMLayer has them: (4 units, inputs), (4 units, outputs), bias (4 units), projection
// (outputs, units) or nulls. Copied.
void pack_integer_lstm(IntegerLSTM& lstm, Weights8 input, Weights8 hidden, const float* bias,
                       Weights8 projection);

}  // namespace headfirst
