// Packing: reads the caller's float32 rows once, writes groups of panels (float32, float16 where that loses
// nothing, and 8 bits for screening). Some 1 GB/s; done once a model.
#include "model.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace headfirst {
namespace {

// The float16 bits of a float32 that is a float16 number (the caller has checked).
uint16_t to_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    const int exponent = (int)(bits >> 23 & 0xff) - 127;
    if (exponent >= -14) return (uint16_t)(sign | (exponent + 15) << 10 | (bits >> 13 & 0x3ff));
    return (uint16_t)(sign | (uint16_t)std::ldexp(std::fabs(x), 24));  // a subnormal, or zero
}

template <class T, class Convert>
void transpose(T* panels, const float* rows, int words, int width, Convert convert) {
    for (int w = 0; w < words; w++) {
        const float* from = rows + (size_t)w * width;
        const Place place(w / LANES, (words + LANES - 1) / LANES, width);
        T* to = panels + place.begin * LANES + w % LANES;
        for (int j = 0; j < width; j++) to[(size_t)j * place.step * LANES] = convert(from[j]);
    }
}

float* floats(std::vector<Memory>& memory, size_t n) {
    memory.push_back(allocate(n * sizeof(float)));
    return (float*)memory.back().get();
}

// An upper bound of x in float32.
float up(double x) { return std::nextafter((float)x, std::numeric_limits<float>::infinity()); }

}  // namespace

Memory allocate(size_t bytes) {
    constexpr size_t HUGE_PAGE = 2u << 20;
    const size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : 64;
    bytes = (bytes + align - 1) / align * align;
    void* p = std::aligned_alloc(align, bytes ? bytes : align);
    if (p == nullptr) throw std::bad_alloc();
#if defined(__linux__)
    if (align == HUGE_PAGE) madvise(p, bytes, MADV_HUGEPAGE);  // a refusal costs speed only
#endif
    memset(p, 0, bytes);
    return Memory(p);
}

void pack(Part& part, const Level& level, const float* rows, const float* bias, int words, int width,
          bool half, bool rescored) {
    Matrix& m = part.matrix;
    m.words = words, m.width = width, m.rows = rows, m.row_bias = bias;
    m.panels = (words + LANES - 1) / LANES;
    m.groups = (m.panels + PANELS - 1) / PANELS;
    m.half = half && level.half;
    const size_t weights = (size_t)m.panels * width * LANES;
    if (m.half) {
        part.memory.push_back(allocate(weights * sizeof(uint16_t)));
        transpose((uint16_t*)part.memory.back().get(), rows, words, width, to_half);
    } else {
        part.memory.push_back(allocate(weights * sizeof(float)));
        transpose((float*)part.memory.back().get(), rows, words, width, [](float x) { return x; });
    }
    m.panel = part.memory.back().get();
    if (m.half && rescored) {
        part.memory.push_back(allocate((size_t)words * width * sizeof(uint16_t)));
        uint16_t* to = (uint16_t*)part.memory.back().get();
        for (size_t i = 0; i < (size_t)words * width; i++) to[i] = to_half(rows[i]);
        m.half_rows = to;
    }
    float* padded = floats(part.memory, (size_t)m.panels * LANES);
    for (int w = 0; w < m.panels * LANES; w++)
        padded[w] = w >= words ? -std::numeric_limits<float>::infinity() : bias ? bias[w] : 0.0f;
    m.bias = padded;
    for (int w = 0; w < words; w++) {
        const double b = bias ? bias[w] : 0;
        m.norm = std::max(
            m.norm, std::sqrt(level.dot(rows + (size_t)w * width, rows + (size_t)w * width, width) + b * b));
    }
}

void pack_screen(Part& part) {
    const Matrix& m = part.matrix;
    Screen& s = part.screen;
    s.width = (m.width + 3) / 4 * 4, s.panels = m.panels;
    const size_t words = (size_t)m.panels * LANES;
    part.memory.push_back(allocate(words * s.width));
    uint8_t* panels = (uint8_t*)part.memory.back().get();
    memset(panels, 128, words * s.width);
    float* scale = floats(part.memory, words);
    float* norm = floats(part.memory, words);
    float* residual = floats(part.memory, words);
    for (int w = 0; w < m.words; w++) {
        const float* row = m.rows + (size_t)w * m.width;
        const Place place(w / LANES, m.panels, s.width / 4);
        float largest = 0;
        for (int j = 0; j < m.width; j++) largest = std::max(largest, std::fabs(row[j]));
        scale[w] = largest / 127;
        const float inverse = largest > 0 ? 127 / largest : 0;
        double square = 0, lost = 0;
        for (int j = 0; j < m.width; j++) {
            const int q = (int)std::lrintf(row[j] * inverse);
            const double kept = (double)scale[w] * q;
            square += kept * kept;
            lost += (row[j] - kept) * (row[j] - kept);
            panels[(place.begin + (size_t)(j / 4) * place.step) * 4 * LANES + w % LANES * 4 + j % 4] =
                (uint8_t)(q + 128);
        }
        // The last term covers the float32 rounding of z' itself, some units of 2^-24 of ||h|| ||w||.
        norm[w] = up(std::sqrt(square) * 1.00001);
        const double rounding = std::sqrt(square) * 2e-6 + (m.row_bias ? std::fabs(m.row_bias[w]) * 1e-6 : 0);
        residual[w] = up(std::sqrt(lost) * 1.00001 + rounding);
        s.rounding = std::max(s.rounding, rounding);
    }
    float* group_norm = floats(part.memory, (size_t)m.groups);
    float* group_residual = floats(part.memory, (size_t)m.groups);
    for (int w = 0; w < m.words; w++) {
        group_norm[w / GROUP] = std::max(group_norm[w / GROUP], norm[w]);
        group_residual[w / GROUP] = std::max(group_residual[w / GROUP], residual[w]);
    }
    s.panel = panels, s.scale = scale, s.norm = norm, s.residual = residual;
    s.group_norm = group_norm, s.group_residual = group_residual;
}

}  // namespace headfirst
