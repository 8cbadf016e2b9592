// The LSTM (Hochreiter & Schmidhuber 1997; projection: Sak et al. 2014), in float32.
//
// The inputs' share of the gates is computed for all steps in one pass (for a single step together with the rest),
// then each step multiplies the hidden rows, applies the gates while a tile is in registers' reach, and projects.
// Reads the hidden weights and the projection once a step, the input weights once; writes the outputs and the state.
// Few rows are bound by the weights' way from L3 or memory (4 bytes a weight, 2 where they are float16 numbers);
// from some 6 rows on by the multiply-add units.
#include "lstm.h"
#include "pool.h"

#include <algorithm>
#include <cstring>

namespace headfirst {
namespace {

constexpr int64_t WORTH_SHARING = 1 << 17;  // multiply-adds

// Run group(g) for all g, shared among threads if there is enough to do.
template <class Group>
void groups(int n, int64_t work, int threads, Group group) {
    if (work < WORTH_SHARING) threads = 1;
    const int tasks = std::min(n, threads <= 1 ? 1 : 4 * threads);
    parallel(tasks, threads, [&](int t) {
        for (int g = (int)((int64_t)n * t / tasks); g < (int)((int64_t)n * (t + 1) / tasks); g++) group(g);
    });
}

}  // namespace

void pack_lstm(LSTM& l, const float* input, const float* hidden, const float* input_bias, const float* hidden_bias,
               const float* projection, int half) {
    const int padded = (l.units + LANES - 1) / LANES * LANES;
    auto gates = [&](const float* from, int width, bool with_bias, Part& part, bool as_half) {
        std::vector<float> rows((size_t)4 * padded * width), bias((size_t)4 * padded);
        for (int gate = 0; gate < 4; gate++)
            for (int u = 0; u < l.units; u++) {
                const size_t to = (size_t)(u / LANES) * 4 * LANES + gate * LANES + u % LANES;
                const size_t at = (size_t)gate * l.units + u;
                std::copy(from + at * width, from + (at + 1) * width, &rows[to * width]);
                if (with_bias && input_bias) bias[to] = input_bias[at] + hidden_bias[at];
            }
        pack(part, *l.level, rows.data(), bias.data(), 4 * padded, width, as_half, false);
        part.matrix.rows = part.matrix.row_bias = nullptr;  // they were copies
    };
    gates(input, l.inputs, true, l.from_input, half & 1);
    gates(hidden, l.outputs, false, l.from_hidden, half & 2);
    if (projection) pack(l.projection, *l.level, projection, nullptr, l.outputs, l.units, half & 4, false);
    l.projection.matrix.rows = nullptr;
}

void run_lstm(const LSTM& l, const float* inputs, int rows, int steps, const int64_t* lengths, float* h, float* c,
              float* out, int threads) {
    const Level& level = *l.level;
    const Matrix &from_input = l.from_input.matrix, &from_hidden = l.from_hidden.matrix, &projection = l.projection.matrix;
    const int cells = from_hidden.groups;
    auto length = [&](int r) { return lengths ? (int)lengths[r] : steps; };
    memset(out, 0, sizeof(float) * (size_t)rows * steps * l.outputs);

    Blocks given;  // all inputs, row by row
    std::vector<int> begin((size_t)rows + 1);
    for (int r = 0; r < rows; r++) begin[(size_t)r + 1] = begin[(size_t)r] + length(r);
    const int tokens = begin[(size_t)rows];
    std::vector<float> gates;
    if (steps > 1) {
        std::vector<const float*> at;
        for (int r = 0; r < rows; r++)
            for (int t = 0; t < length(r); t++) at.push_back(inputs + ((size_t)r * steps + t) * l.inputs);
        given.fill(tokens, l.inputs, [&](int i) { return at[(size_t)i]; });
        const int stride = cells * GROUP;
        gates.resize((size_t)tokens * stride);
        groups(cells, (int64_t)tokens * 4 * l.units * l.inputs, threads, [&](int g) {
            for (int b = 0; b < given.count(); b++)
                level.logits(from_input, g * PANELS, PANELS, given.block(b), given.rows(b),
                             &gates[(size_t)given.first[b] * stride + g * GROUP], stride);
        });
    }

    Blocks input, hidden, cell;
    std::vector<int> active;
    std::vector<float> made;  // what the cells put out, (active, units padded)
    const int made_stride = cells * LANES;
    for (int t = 0; t < steps; t++) {
        active.clear();
        for (int r = 0; r < rows; r++)
            if (t < length(r)) active.push_back(r);
        const int n = (int)active.size();
        if (n == 0) break;
        made.resize((size_t)n * made_stride);
        hidden.fill(n, l.outputs, [&](int i) { return h + (size_t)active[(size_t)i] * l.outputs; });
        if (steps == 1) input.fill(n, l.inputs, [&](int i) { return inputs + (size_t)active[(size_t)i] * l.inputs; });
        groups(cells, (int64_t)n * 4 * l.units * l.outputs, threads, [&](int g) {
            float tile[BLOCK * GROUP], from[BLOCK * GROUP], now[LANES];
            const int many = std::min(LANES, l.units - g * LANES);
            for (int b = 0; b < hidden.count(); b++) {
                const int height = hidden.rows(b);
                level.logits(from_hidden, g * PANELS, PANELS, hidden.block(b), height, tile, GROUP);
                if (steps == 1) level.logits(from_input, g * PANELS, PANELS, input.block(b), height, from, GROUP);
                for (int i = 0; i < height; i++) {
                    const int at = hidden.first[b] + i, r = active[(size_t)at];
                    const float* x = steps == 1 ? from + i * GROUP
                                                : &gates[(size_t)(begin[(size_t)r] + t) * cells * GROUP + g * GROUP];
                    float* state = c + (size_t)r * l.units + g * LANES;
                    std::copy(state, state + many, now);
                    std::fill(now + many, now + LANES, 0.0f);
                    level.cell(tile + i * GROUP, x, now, &made[(size_t)at * made_stride + g * LANES]);
                    std::copy(now, now + many, state);
                }
            }
        });
        auto put = [&](int i, const float* row, int first, int many) {
            const int r = active[(size_t)i];
            std::copy(row, row + many, h + (size_t)r * l.outputs + first);
            std::copy(row, row + many, out + ((size_t)r * steps + t) * l.outputs + first);
        };
        if (!l.projected) {
            for (int i = 0; i < n; i++) put(i, &made[(size_t)i * made_stride], 0, l.outputs);
            continue;
        }
        cell.fill(n, l.units, [&](int i) { return &made[(size_t)i * made_stride]; });
        groups(projection.groups, (int64_t)n * l.units * l.outputs, threads, [&](int g) {
            float tile[BLOCK * GROUP];
            const int panels = std::min(PANELS, projection.panels - g * PANELS);
            for (int b = 0; b < cell.count(); b++) {
                level.logits(projection, g * PANELS, panels, cell.block(b), cell.rows(b), tile, GROUP);
                for (int i = 0; i < cell.rows(b); i++)
                    put(cell.first[b] + i, tile + i * GROUP, g * GROUP, std::min(GROUP, l.outputs - g * GROUP));
            }
        });
    }
}

}  // namespace headfirst
