// Plain C++ for every processor: the compiler makes of 16 lanes what its target has (SSE2, NEON, ...). Reads
// and writes as tile.inc says; bound by arithmetic everywhere.
#include "integer.h"
#include "tile.h"

#include <cstddef>

namespace headfirst {
namespace {

typedef float V __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint32_t Bits __attribute__((vector_size(64)));
constexpr bool HALF = false;  // a conversion in software would cost more than the bytes it saves
constexpr const char* NAME = "scalar";

inline V zero() { return V{}; }
inline V set(float x) { return V{} + x; }
inline V load(const float* p) {
    V v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
inline V load_half(const uint16_t*) { return V{}; }
inline void store(float* p, V v) { __builtin_memcpy(p, &v, sizeof v); }
inline V fma(V a, V b, V c) { return a * b + c; }
inline V add(V a, V b) { return a + b; }
inline V sub(V a, V b) { return a - b; }
inline V mul(V a, V b) { return a * b; }
inline V div(V a, V b) { return a / b; }
inline V max(V a, V b) { return a > b ? a : b; }
inline V min(V a, V b) { return a < b ? a : b; }
inline float highest(V v) {
    for (int n = LANES / 2; n; n /= 2)
        for (int i = 0; i < n; i++) v[i] = v[i] > v[i + n] ? v[i] : v[i + n];
    return v[0];
}
inline float total(V v) {
    for (int n = LANES / 2; n; n /= 2)
        for (int i = 0; i < n; i++) v[i] += v[i + n];
    return v[0];
}
inline V exp2_bits(V t, V p) { return (V)(((Bits)t << 23) + (Bits)p); }
inline V with_bits(V v) { return (V) __builtin_convertvector(v, Ints); }
inline V keep(V v, V x, float low) { return (V)((Bits)v & (Bits)(x >= set(low))); }
inline unsigned at_least(V v, float low) {
    unsigned bits = 0;
    for (int i = 0; i < LANES; i++) bits |= (unsigned)(v[i] >= low) << i;
    return bits;
}
constexpr int panels_at_once(int rows) { return rows == 1 ? 2 : 1; }

double dot(const float* a, const float* b, int n) {
    double sum[16] = {};
    int j = 0;
    for (; j + 16 <= n; j += 16)
        for (int i = 0; i < 16; i++) sum[i] += (double)a[j + i] * b[j + i];
    for (int i = 0; j + i < n; i++) sum[i] += (double)a[j + i] * b[j + i];
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) sum[i] += sum[i + half];
    return sum[0];
}

double dot_half(const float*, const uint16_t*, int) { return 0; }  // without HALF there are no such rows

inline void codes_dot(const uint8_t* w, size_t w_step, const int8_t* codes, int step, int width,
                      int32_t* out) {
    int32_t sum[LANES] = {};
    for (int j = 0; j < width; j += 4, codes += step, w += w_step)
        for (int l = 0; l < LANES; l++)
            for (int i = 0; i < 4; i++) sum[l] += w[4 * l + i] * codes[i];
    for (int l = 0; l < LANES; l++) out[l] = sum[l];
}

void screen(const Screen& m, const float* bias, int first, int n, const Codes& c, float* out, int stride) {
    const int step = 4 * c.rows * c.planes;
    for (int p = 0; p < n; p++)
        for (int r = 0; r < c.rows; r++) {
            const int at = (first + p) * LANES;
            const Place place(first + p, m.panels, m.width / 4);
            int32_t sum[2][LANES];
            for (int plane = 0; plane < c.planes; plane++)
                codes_dot(m.panel + place.begin * 4 * LANES, (size_t)place.step * 4 * LANES,
                          c.codes + 4 * (r * c.planes + plane), step, m.width, sum[plane]);
            for (int l = 0; l < LANES; l++) {
                float z = (float)(sum[0][l] - c.sums[r * c.planes]);
                if (c.planes == 2) z += (float)(sum[1][l] - c.sums[r * c.planes + 1]) * (1.0f / 254);
                out[r * stride + p * LANES + l] = z * c.scale[r] * m.scale[at + l] + bias[at + l];
            }
        }
}

#include "tile.inc"

#include "integer_scalar.inc"

#include "integer.inc"

}  // namespace

const Level scalar_level = {NAME,     HALF,   false,  false, logits, stats, dot,
                            dot_half, screen, spread, fold,  reach,  cell};
const IntegerLevel scalar_integers = {quantize, products, embed, share, integer_cell};

}  // namespace headfirst
