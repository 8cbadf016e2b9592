// AVX2 with FMA and F16C: 16 lanes are two registers, so fewer panels and rows at once than with AVX-512; the
// float32 results have the same bits. Called only where the processor has it.
#if defined(__x86_64__)
#include "integer.h"
#include "tile.h"

#include <immintrin.h>
#include <cstddef>
#include <cstring>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

namespace headfirst {
namespace {

struct V {
    __m256 low, high;
};
typedef int32_t Ints __attribute__((vector_size(32)));  // __m256i sums would stay in memory (GCC 12)
constexpr bool HALF = true;
constexpr const char* NAME = "avx2";

inline V zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline V set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline V load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline V load_half(const uint16_t* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)),
            _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(p + 8)))};
}
inline void store(float* p, V v) { _mm256_storeu_ps(p, v.low), _mm256_storeu_ps(p + 8, v.high); }
inline V fma(V a, V b, V c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline V add(V a, V b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
inline V sub(V a, V b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
inline V mul(V a, V b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
inline V div(V a, V b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
inline V max(V a, V b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
inline V min(V a, V b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
inline float highest(V v) {
    const __m256 eight = _mm256_max_ps(v.low, v.high);
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps(x, x, 1)));
}
inline float total(V v) {
    const __m256 eight = _mm256_add_ps(v.low, v.high);
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
}
inline __m256 bits(__m256 t, __m256 p) {
    return _mm256_castsi256_ps(
        _mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(t), 23), _mm256_castps_si256(p)));
}
inline V exp2_bits(V t, V p) { return {bits(t.low, p.low), bits(t.high, p.high)}; }
inline V with_bits(V v) {
    return {_mm256_castsi256_ps(_mm256_cvtps_epi32(v.low)), _mm256_castsi256_ps(_mm256_cvtps_epi32(v.high))};
}
inline V keep(V v, V x, float low) {
    const __m256 edge = _mm256_set1_ps(low);
    return {_mm256_and_ps(v.low, _mm256_cmp_ps(x.low, edge, _CMP_GE_OQ)),
            _mm256_and_ps(v.high, _mm256_cmp_ps(x.high, edge, _CMP_GE_OQ))};
}
inline unsigned at_least(V v, float low) {
    const __m256 edge = _mm256_set1_ps(low);
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(v.low, edge, _CMP_GE_OQ)) |
           (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(v.high, edge, _CMP_GE_OQ)) << 8;
}
constexpr int panels_at_once(int rows) { return rows == 1 ? 4 : rows <= 3 ? 2 : 1; }

inline __m256d four(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
inline __m256d four(const uint16_t* p) {
    return _mm256_cvtps_pd(_mm_cvtph_ps(_mm_loadl_epi64((const __m128i*)p)));
}

template <class T>
inline double dot_of(const float* a, const T* b, int n) {
    __m256d sum[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
    int j = 0;
    for (; j + 16 <= n; j += 16)
        for (int q = 0; q < 4; q++)
            sum[q] = _mm256_fmadd_pd(four(a + j + 4 * q), four(b + j + 4 * q), sum[q]);
    if (j < n) {
        float x[16] = {};
        T y[16] = {};
        for (int i = 0; j + i < n; i++) x[i] = a[j + i], y[i] = b[j + i];
        for (int q = 0; q < 4; q++) sum[q] = _mm256_fmadd_pd(four(x + 4 * q), four(y + 4 * q), sum[q]);
    }
    const __m256d all = _mm256_add_pd(_mm256_add_pd(sum[0], sum[2]), _mm256_add_pd(sum[1], sum[3]));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(all), _mm256_extractf128_pd(all, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

double dot(const float* a, const float* b, int n) { return dot_of(a, b, n); }
double dot_half(const float* a, const uint16_t* b, int n) { return dot_of(a, b, n); }

// Half a panel's quarters, 4 words each, for a block of rows: products of 16 bits are added in pairs, so that
// each word has two partial sums.
template <int QUARTERS, int ROWS>
inline void screen_tile(const Screen& m, const float* bias, int panel, int quarter, const Codes& c,
                        float* out, int stride) {
    Ints sum[ROWS][QUARTERS];
    UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int q = 0; q < QUARTERS; q++) sum[r][q] = Ints{};
    const Place place(panel, m.panels, m.width / 4);
    const uint8_t* w = m.panel + place.begin * 4 * LANES + quarter * 16;
    const size_t step = (size_t)place.step * 4 * LANES;
    const int8_t* codes = c.codes;
    // The first of a group's panels fetches what lies between its own weights: the others'.
    const size_t between = panel % PANELS == 0 && quarter == 0 ? step : 0;
    for (int j = 0; j < m.width; j += 4, codes += 8 * ROWS, w += step) {
        for (size_t at = 0; at < between; at += 64) __builtin_prefetch(w + 12 * step + at);
        Ints x[QUARTERS];
        UNROLL for (int q = 0; q < QUARTERS; q++) x[q] =
            (Ints)_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i*)(w + 16 * q)));
        UNROLL for (int r = 0; r < ROWS; r++) {
            long long four;
            memcpy(&four, codes + 8 * r, 8);
            const __m256i h = _mm256_set1_epi64x(four);
            UNROLL for (int q = 0; q < QUARTERS; q++) sum[r][q] += (Ints)_mm256_madd_epi16((__m256i)x[q], h);
        }
    }
    const int at = panel * LANES + quarter * 4;
    UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int q = 0; q < QUARTERS; q += 2) {
        const __m256i words = _mm256_sub_epi32(
            _mm256_permute4x64_epi64(_mm256_hadd_epi32((__m256i)sum[r][q], (__m256i)sum[r][q + 1]), 0xd8),
            _mm256_set1_epi32(c.sums[r]));
        const __m256 z = _mm256_mul_ps(_mm256_cvtepi32_ps(words), _mm256_set1_ps(c.scale[r]));
        _mm256_storeu_ps(out + r * stride + 4 * q, _mm256_fmadd_ps(z, _mm256_loadu_ps(m.scale + at + 4 * q),
                                                                   _mm256_loadu_ps(bias + at + 4 * q)));
    }
}

template <int ROWS>
inline void screen_rows(const Screen& m, const float* bias, int first, int n, const Codes& c, float* out,
                        int stride) {
    constexpr int QUARTERS = ROWS <= 3 ? 4 : 2;  // so that the sums fit the registers
    for (int p = 0; p < n; p++)
        for (int q = 0; q < 4; q += QUARTERS)
            screen_tile<QUARTERS, ROWS>(m, bias, first + p, q, c, out + p * LANES + 4 * q, stride);
}

void screen(const Screen& m, const float* bias, int first, int n, const Codes& c, float* out, int stride) {
    switch (c.rows) {
        case 1: return screen_rows<1>(m, bias, first, n, c, out, stride);
        case 2: return screen_rows<2>(m, bias, first, n, c, out, stride);
        case 3: return screen_rows<3>(m, bias, first, n, c, out, stride);
        case 4: return screen_rows<4>(m, bias, first, n, c, out, stride);
        case 5: return screen_rows<5>(m, bias, first, n, c, out, stride);
        default: return screen_rows<6>(m, bias, first, n, c, out, stride);
    }
}

#include "tile.inc"

#include "integer_avx2.inc"

#include "integer.inc"

}  // namespace

const Level avx2_level = {NAME,     HALF,   true,   true, logits, stats, dot,
                          dot_half, screen, spread, fold, reach,  cell};
const IntegerLevel avx2_integers = {quantize, products, embed, share, integer_cell};

}  // namespace headfirst

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
