// Hidden rows in few bits, for screening: reads rows * width floats and writes one or two bytes each, which
// is nothing beside the weights that the codes are multiplied with.
#pragma once

#include "model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace headfirst {

// Rows as a level's `screen` takes them, each on its own: 16 bits where that level multiplies them as fast as
// 8, else one plane of 8 bits, or two for few rows: these wait for memory anyway, and fewer words survive.
struct Coded {
    int width = 0;              // padded
    int planes = 1;             // of a row
    int unit = 4;               // bytes of four inputs of a row, all planes
    std::vector<int8_t> codes;  // [rows][width / 4][unit]
    std::vector<float> scale, norm, residual;
    std::vector<int32_t> sums;  // [rows][planes]

    // row(i): pointer to the floats of row i; norm(i): at least its Euclidean norm.
    template <class Rows, class Norms>
    void fill(const Level& level, int rows, int inputs, int padded, Rows row, Norms norm_of_row) {
        width = padded;
        planes = level.wide_codes || rows > 2 ? 1 : 2;
        unit = level.wide_codes ? 8 : 4 * planes;
        codes.assign((size_t)rows * width / 4 * unit, 0);
        scale.resize(rows), norm.resize(rows), residual.resize(rows), sums.assign((size_t)rows * planes, 0);
        // Sums of products with weights of 8 bits stay below 2^30.
        const int limit = level.wide_codes ? std::min(32767, (1 << 23) / width) : 127;
        for (int i = 0; i < rows; i++) {
            norm[(size_t)i] = norm_of_row(i);
            code(row(i), inputs, i, limit);
        }
    }

  private:
    void code(const float* row, int inputs, int i, int limit) {
        float largest = 0;
        for (int j = 0; j < inputs; j++) largest = std::max(largest, std::fabs(row[j]));
        scale[i] = largest / (float)limit;
        const float inverse = largest > 0 ? (float)limit / largest : 0;
        int8_t* to = &codes[(size_t)i * width / 4 * unit];
        double lost = 0;
        int32_t* sum = &sums[(size_t)i * planes];
        for (int j = 0; j < inputs; j++) {
            int8_t* at = to + (size_t)(j / 4) * unit;
            const int coarse = (int)std::lrintf(row[j] * inverse);
            double kept = coarse;
            sum[0] += 128 * coarse;
            if (unit == 8 && planes == 1) {
                const int16_t wide = (int16_t)coarse;
                memcpy(at + j % 4 * 2, &wide, 2);
            } else {
                at[j % 4] = (int8_t)coarse;
            }
            if (planes == 2) {
                const int fine = (int)std::lrintf((row[j] * inverse - (float)coarse) * 254);
                kept += fine / 254.0;
                at[4 + j % 4] = (int8_t)fine;
                sum[1] += 128 * fine;
            }
            const double rest = row[j] - kept * scale[i];
            lost += rest * rest;
        }
        residual[i] = (float)(std::sqrt(lost) * 1.00001);
    }
};

// Some of those rows in blocks of at most BLOCK, of even sizes, packed as tiles read them.
struct CodedBlocks {
    std::vector<int> first{0};  // block b holds rows first[b] .. first[b + 1] - 1 of those given
    int count() const { return (int)first.size() - 1; }
    int rows(int b) const { return first[b + 1] - first[b]; }

    // which(i): the i-th of n rows.
    template <class Which>
    void fill(const Coded& coded, int n, Which which) {
        split(n, first);
        planes_ = coded.planes, bytes_ = (size_t)coded.width / 4 * coded.unit;
        codes_.resize((size_t)n * bytes_);
        scale_.resize(n), norm_.resize(n), residual_.resize(n), sums_.resize((size_t)n * planes_);
        for (int b = 0; b < count(); b++)
            for (int i = first[b]; i < first[b + 1]; i++) {
                const int row = which(i);
                const int8_t* from = &coded.codes[(size_t)row * bytes_];
                int8_t* to = &codes_[(size_t)first[b] * bytes_ + (size_t)(i - first[b]) * coded.unit];
                const size_t step = (size_t)rows(b) * coded.unit;
                for (size_t j = 0; j < bytes_; j += coded.unit, to += step)
                    coded.unit == 4 ? memcpy(to, from + j, 4) : memcpy(to, from + j, 8);
                scale_[i] = coded.scale[row], norm_[i] = coded.norm[row], residual_[i] = coded.residual[row];
                for (int p = 0; p < planes_; p++) sums_[i * planes_ + p] = coded.sums[row * planes_ + p];
            }
    }

    Codes block(int b) const {
        const int at = first[b];
        return {codes_.data() + (size_t)at * bytes_,
                rows(b),
                planes_,
                scale_.data() + at,
                norm_.data() + at,
                residual_.data() + at,
                sums_.data() + (size_t)at * planes_};
    }

  private:
    int planes_ = 1;
    size_t bytes_ = 0;  // of a row
    std::vector<int8_t> codes_;
    std::vector<float> scale_, norm_, residual_;
    std::vector<int32_t> sums_;
};

}  // namespace headfirst
