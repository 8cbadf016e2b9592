// Packing an LSTM of 8-bit weights: reads them once, writes panels in the cells' order; for words makes the
// table of gates, 8 bytes a word and unit.
#include "integer_lstm.h"
#include "pool.h"

#include <algorithm>

namespace headfirst {
namespace {

constexpr int TABLE_ROWS = 96;  // vectors whose codes stay in L2

// Row place(w) of the packed matrix is row w of the weights; there are `padded` places.
template <class PlaceOf>
void pack(IntegerPart& part, Weights8 weights, int words, int width, int padded, PlaceOf place) {
    IntegerMatrix& m = part.matrix;
    m.words = padded, m.width = (width + LANE - 1) / LANE * LANE;
    m.panels = (padded + LANES - 1) / LANES;
    m.groups = (m.panels + PANELS - 1) / PANELS;
    const size_t places = (size_t)m.panels * LANES;
    auto take = [&](size_t bytes) {
        part.memory.push_back(allocate(bytes));
        return part.memory.back().get();
    };
    int8_t* panel = (int8_t*)take(places * m.width);
    float* scale = (float*)take(places * sizeof(float));
    int32_t* shift = (int32_t*)take(places * sizeof(int32_t));
    for (int w = 0; w < words; w++) {
        const int to = place(w);
        const int8_t* row = weights.values + (size_t)w * width;
        const Place at(to / LANES, m.panels, m.width / LANE);
        scale[to] = weights.scale[w];
        for (int j = 0; j < width; j++) {
            panel[(at.begin + (size_t)(j / LANE) * at.step) * LANE * LANES + to % LANES * LANE + j % LANE] =
                row[j];
            shift[to] -= 128 * row[j];
        }
    }
    m.panel = panel, m.scale = scale, m.shift = shift;
}

}  // namespace

void pack_integer_lstm(IntegerLSTM& l, Weights8 input, Weights8 hidden, const float* bias,
                       Weights8 projection) {
    const int units = l.units, padded = l.cells() * GROUP;
    auto place = [&](int w) { return w % units / LANES * GROUP + w / units * LANES + w % units % LANES; };
    pack(l.from_input, input, 4 * units, l.inputs, padded, place);
    pack(l.from_hidden, hidden, 4 * units, l.outputs, padded, place);
    l.bias.assign((size_t)padded, 0);
    for (int w = 0; w < 4 * units; w++) l.bias[(size_t)place(w)] = bias[w];
    if (l.projected) pack(l.projection, projection, l.outputs, units, l.outputs, [](int w) { return w; });
}

int IntegerLSTM::input_stride() const { return (inputs + CODES_PADDING - 1) / CODES_PADDING * CODES_PADDING; }

void IntegerLSTM::share(const CodedRows& rows, int g, uint16_t* out) const {
    float tile[BLOCK * GROUP];
    for (int first = 0; first < rows.rows; first += BLOCK) {
        const CodedRows block{rows.codes + first * rows.stride, rows.stride, rows.scale + first,
                              std::min(BLOCK, rows.rows - first)};
        integers->products(from_input.matrix, g * PANELS, PANELS, block, tile, GROUP);
        for (int i = 0; i < block.rows; i++)
            integers->share(tile + i * GROUP, &bias[(size_t)g * GROUP],
                            out + (size_t)(first + i) * stride() + g * GROUP);
    }
}

void IntegerLSTM::add_vectors(const float* rows, const float* projection, float scale, int64_t n, int width) {
    VectorBand band{rows, words, n, width, scale, {}};
    if (projection) {
        band.columns.assign((size_t)width * vector_stride(), 0);
        for (int i = 0; i < inputs; i++)
            for (int j = 0; j < width; j++)
                band.columns[(size_t)j * vector_stride() + i] = projection[(size_t)i * width + j];
    }
    bands.push_back(std::move(band));
    words += n;
}

void IntegerLSTM::vectors(const int64_t* ids, int n, float* out) const {
    constexpr int AT_ONCE = 4;
    for (const VectorBand& band : bands) {
        const float* rows[AT_ONCE];
        float* to[AT_ONCE];
        int many = 0;
        auto make = [&] {
            if (many > 0)
                integers->embed(rows, many, band.width, band.columns.data(), vector_stride(), band.scale, to);
            many = 0;
        };
        for (int i = 0; i < n; i++) {
            if (ids[i] < band.first || ids[i] >= band.first + band.words) continue;
            const float* row = band.rows + (size_t)(ids[i] - band.first) * band.width;
            float* vector = out + (size_t)i * vector_stride();
            if (band.width == inputs && band.columns.empty()) {
                for (int j = 0; j < inputs; j++) vector[j] = row[j] * band.scale;
                continue;
            }
            rows[many] = row, to[many] = vector;
            if (++many == AT_ONCE) make();
        }
        make();
    }
}

void IntegerLSTM::add_table(const float* vectors, int64_t n) {
    memory.push_back(allocate((size_t)n * stride() * sizeof(uint16_t)));
    uint16_t* gates = (uint16_t*)memory.back().get();
    std::vector<uint8_t> codes((size_t)TABLE_ROWS * input_stride());
    std::vector<float> scales(TABLE_ROWS);
    for (int64_t at = 0; at < n; at += TABLE_ROWS) {
        const int rows = (int)std::min<int64_t>(TABLE_ROWS, n - at);
        for (int i = 0; i < rows; i++)
            scales[(size_t)i] =
                integers->quantize(vectors + (at + i) * inputs, inputs, &codes[(size_t)i * input_stride()]);
        const CodedRows coded{codes.data(), (size_t)input_stride(), scales.data(), rows};
        for (int g = 0; g < cells(); g++) share(coded, g, gates + (size_t)at * stride());
    }
    table = gates;
    tabled = n;
}

}  // namespace headfirst
