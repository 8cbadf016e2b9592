// Matrices of 8-bit weights and rows quantized to 8 bits: what every instruction set provides for them. Their
// definition, to the bit, is models/bodies/integer_products.py: integer sums are exact, and float operations
// are rounded one by one, in one order, nothing fused.
//
// Weights lie as in tile.h, in groups of 64 words of 4 panels of 16, but 4 inputs of a word side by side:
// [groups][width / 4][panels of the group][16][4], the width padded with zeros. What instructions multiply
// them with is unsigned, so 128 is added to each activation and taken off again by `shift`. Two neighboring
// weights of one sign add up to 128 at most, so 255 times them fits 16 bits.
#pragma once

#include "tile.h"

namespace headfirst {

constexpr int LANE = 4;
constexpr int CODES_PADDING = 16;  // a row's codes are padded to a multiple of this

// 2^f = 1 + f (EXP2[0] + f (EXP2[1] + ...)) for |f| <= 1/2, within 1.2e-7.
constexpr float EXP2[] = {0x1.62e42ap-1f, 0x1.ebf9bcp-3f, 0x1.c6b752p-5f, 0x1.3cea88p-7f, 0x1.5bba14p-10f};

struct IntegerMatrix {
    int words = 0, width = 0;  // width: padded to a multiple of LANE
    int panels = 0, groups = 0;
    const int8_t* panel = nullptr;
    const float* scale = nullptr;    // [panels][16], 0 for the padding words
    const int32_t* shift = nullptr;  // [panels][16], -128 times the sum of the weights
};

// Some rows' codes, one after another.
struct CodedRows {
    const uint8_t* codes;  // activations + 128
    size_t stride;         // bytes of a row
    const float* scale;
    int rows;
};

struct IntegerLevel {
    // n floats -> their codes, padded with those of 0; the scale.
    float (*quantize)(const float* row, int n, uint8_t* codes);

    // out[r * stride + w] = products of panels first .. first + n - 1 with up to 6 rows.
    void (*products)(const IntegerMatrix&, int first, int n, const CodedRows&, float* out, int stride);

    // Vectors of up to 4 words from their tables' rows: scale times `columns` [width][stride] times the row,
    // summed in double, which holds each product; `stride` is a multiple of 16.
    void (*embed)(const float* const* rows, int words, int width, const float* columns, int stride,
                  float scale, float* const* out);

    // 64 float16 numbers nearest to products + bias.
    void (*share)(const float* products, const float* bias, uint16_t* out);

    // 16 LSTM cells, as Level::cell; the inputs' share of the gates in float16.
    void (*cell)(const float* from_hidden, const uint16_t* from_input, float* c, float* h);
};

extern const IntegerLevel scalar_integers;
#if defined(__x86_64__)
extern const IntegerLevel avx2_integers;
extern const IntegerLevel avx512_integers;
#endif

}  // namespace headfirst
