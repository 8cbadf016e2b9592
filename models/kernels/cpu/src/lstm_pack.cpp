// Packing an LSTM: reads torch's float32 weights once, writes panels in the cells' order; for words makes the
// table of gates. Once a model: the table takes 8 units * inputs flop a word and 16 bytes a word and unit.
#include "lstm.h"
#include "pool.h"

#include <algorithm>

namespace headfirst {
namespace {

constexpr int TABLE_ROWS = 96;  // vectors that are multiplied at once: they stay in L2

// `weights` (4 units, width) to groups of 16 cells; the bias too, or none.
void pack_gates(const FloatLSTM& l, const float* weights, int width, bool with_bias, bool half, Part& part) {
    const int padded = (l.units + LANES - 1) / LANES * LANES;
    std::vector<float> rows((size_t)4 * padded * width), bias((size_t)4 * padded);
    for (int gate = 0; gate < 4; gate++)
        for (int u = 0; u < l.units; u++) {
            const size_t to = (size_t)(u / LANES) * 4 * LANES + gate * LANES + u % LANES;
            const size_t at = (size_t)gate * l.units + u;
            std::copy(weights + at * width, weights + (at + 1) * width, &rows[to * width]);
            if (with_bias) bias[to] = l.bias[at];
        }
    pack(part, *l.level, rows.data(), bias.data(), 4 * padded, width, half, false);
    part.matrix.rows = part.matrix.row_bias = nullptr;  // they were copies
}

}  // namespace

void pack_lstm(FloatLSTM& l, const float* input, const float* hidden, const float* input_bias,
               const float* hidden_bias, const float* projection, int half) {
    l.bias.assign((size_t)4 * l.units, 0);
    if (input_bias)
        for (size_t i = 0; i < l.bias.size(); i++) l.bias[i] = input_bias[i] + hidden_bias[i];
    pack_gates(l, input, l.inputs, true, half & 1, l.from_input);
    pack_gates(l, hidden, l.outputs, false, half & 2, l.from_hidden);
    if (projection) pack(l.projection, *l.level, projection, nullptr, l.outputs, l.units, half & 4, false);
    l.projection.matrix.rows = nullptr;
}

void FloatLSTM::add_table(const float* vectors, int64_t n) {
    memory.push_back(allocate((size_t)n * stride() * sizeof(float)));
    float* gates = (float*)memory.back().get();
    for (int64_t at = 0; at < n; at += TABLE_ROWS) {
        Blocks blocks;
        blocks.fill((int)std::min<int64_t>(TABLE_ROWS, n - at), inputs,
                    [&](int i) { return vectors + (at + i) * inputs; });
        for (int g = 0; g < cells(); g++)
            for (int b = 0; b < blocks.count(); b++)
                level->logits(from_input.matrix, g * PANELS, PANELS, blocks.block(b), blocks.rows(b),
                              gates + (size_t)(at + blocks.first[b]) * stride() + g * GROUP, stride());
    }
    table = gates;
    tabled = words = n;
}

void add_band(FloatLSTM& l, const float* rows, const float* matrix, int64_t words, int width, bool half) {
    WordBand band;
    pack_gates(l, matrix, width, true, half, band.gates);
    band.rows = rows, band.first = l.words, band.words = words;
    l.bands.push_back(std::move(band));
    l.words += words;
}

}  // namespace headfirst
