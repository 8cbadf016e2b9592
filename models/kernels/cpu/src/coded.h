// Hidden rows in 8 bits, for screening: reads rows * width floats and writes as many bytes (twice as many for
// few rows, whose codes are finer), which is nothing beside the weights that the codes are multiplied with.
#pragma once

#include "model.h"

#include <algorithm>
#include <cmath>

namespace headfirst {

// At least e^s, for s >= 0.
inline float exp_from_above(float s) { return s <= 1 ? 1 + s * (1 + 0.7184f * s) : std::exp(s) * 1.00001f; }

// A chunk's rows in 8 bits. Two planes (16 bits) for few rows: they wait for memory anyway, and fewer words
// survive.
struct Coded {
    int planes = 1;
    std::vector<int8_t> codes;
    std::vector<float> scale, residual;
    std::vector<int32_t> sums;

    void fill(const Blocks& blocks, const float* hidden, int rows, int width, int padded) {
        planes = rows <= 2 ? 2 : 1;
        codes.assign((size_t)rows * planes * padded, 0);
        scale.resize(rows), residual.resize(rows), sums.assign((size_t)rows * planes, 0);
        for (int b = 0; b < blocks.count(); b++)
            for (int i = blocks.first[b]; i < blocks.first[b + 1]; i++)
                code(hidden + (size_t)i * width, width, i,
                     codes.data() + (size_t)blocks.first[b] * planes * padded +
                         4 * (i - blocks.first[b]) * planes,
                     4 * blocks.rows(b) * planes);
    }

    void code(const float* row, int width, int i, int8_t* to, int step) {
        float largest = 0;
        for (int j = 0; j < width; j++) largest = std::max(largest, std::fabs(row[j]));
        scale[i] = largest / 127;
        const float inverse = largest > 0 ? 127 / largest : 0;
        double lost = 0;
        for (int j = 0; j < width; j++) {
            int8_t* at = to + (size_t)(j / 4) * step + j % 4;
            const int coarse = (int)std::lrintf(row[j] * inverse);
            double kept = coarse;
            at[0] = (int8_t)coarse;
            sums[(size_t)i * planes] += 128 * coarse;
            if (planes == 2) {
                const int fine = (int)std::lrintf((row[j] * inverse - (float)coarse) * 254);
                kept += fine / 254.0;
                at[4] = (int8_t)fine;
                sums[(size_t)i * planes + 1] += 128 * fine;
            }
            const double rest = row[j] - kept * scale[i];
            lost += rest * rest;
        }
        residual[i] = (float)(std::sqrt(lost) * 1.00001);
    }

    Codes block(const Blocks& blocks, int b, int padded, const float* norm) const {
        const int first = blocks.first[b];
        return {codes.data() + (size_t)first * planes * padded,
                blocks.rows(b),
                planes,
                scale.data() + first,
                norm + first,
                residual.data() + first,
                sums.data() + (size_t)first * planes};
    }
};

}  // namespace headfirst
