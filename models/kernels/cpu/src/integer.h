// Matrices of 8-bit weights and rows quantized to 8 bits: what every instruction set provides for them. Their
// definition, to the bit, is models/bodies/integer_products.py: integer sums are exact, and float operations
// are rounded one by one, in one order, nothing fused.
//
// Weights lie as in tile.h, in groups of 64 words of 4 panels of 16, but `lane` inputs of a word side by
// side: [groups][width / lane][panels of the group][16][lane], the width padded with zeros.
#pragma once

#include "tile.h"

namespace headfirst {

constexpr int CODES_PADDING = 16;  // a row's codes are padded to a multiple of this

struct IntegerMatrix {
    int words = 0, width = 0;  // width: padded to a multiple of `lane`
    int panels = 0, groups = 0;
    const int8_t* panel = nullptr;
    const float* scale = nullptr;    // [panels][16], 0 for the padding words
    const int32_t* shift = nullptr;  // [panels][16], -128 times the sum of the weights
};

// Some rows' codes, one after another.
struct CodedRows {
    const char* codes;
    size_t stride;  // bytes of a row
    const float* scale;
    int rows;
};

struct IntegerLevel {
    int lane;        // 4 or 2
    int code_bytes;  // of an input: 1, the number + 128, or 2, the number

    // n floats -> their codes, padded with those of 0; the scale.
    float (*quantize)(const float* row, int n, char* codes);

    // out[r * stride + w] = products of panels first .. first + n - 1 with up to 6 rows.
    void (*products)(const IntegerMatrix&, int first, int n, const CodedRows&, float* out, int stride);

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
