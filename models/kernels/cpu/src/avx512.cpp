// AVX-512 with VNNI: 32 registers hold 4 panels x 6 rows of sums. Compiled for it under any flags of the
// build; called only where the processor has it.
#if defined(__x86_64__)
#include "integer.h"
#include "tile.h"

#include <immintrin.h>
#include <cstddef>
#include <cstring>

#if defined(__clang__)
#pragma clang attribute push(                                                               \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")
#endif

namespace headfirst {
namespace {

using V = __m512;
typedef int32_t Ints __attribute__((vector_size(64)));  // __m512i sums would stay in memory (GCC 12)
constexpr bool HALF = true;
constexpr const char* NAME = "avx512";

inline V zero() { return _mm512_setzero_ps(); }
inline V set(float x) { return _mm512_set1_ps(x); }
inline V load(const float* p) { return _mm512_loadu_ps(p); }
inline V load_half(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
inline void store(float* p, V v) { _mm512_storeu_ps(p, v); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V add(V a, V b) { return _mm512_add_ps(a, b); }
inline V sub(V a, V b) { return _mm512_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm512_mul_ps(a, b); }
inline V div(V a, V b) { return _mm512_div_ps(a, b); }
inline V max(V a, V b) { return _mm512_max_ps(a, b); }
inline V min(V a, V b) { return _mm512_min_ps(a, b); }
inline float highest(V v) { return _mm512_reduce_max_ps(v); }
inline float total(V v) { return _mm512_reduce_add_ps(v); }
inline V exp2_bits(V t, V p) {
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(t), 23), _mm512_castps_si512(p)));
}
inline V with_bits(V v) { return _mm512_castsi512_ps(_mm512_cvtps_epi32(v)); }
inline V keep(V v, V x, float low) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, set(low), _CMP_GE_OQ), v);
}
inline unsigned at_least(V v, float low) { return _mm512_cmp_ps_mask(v, set(low), _CMP_GE_OQ); }
constexpr int panels_at_once(int) { return 4; }

inline V some(__mmask16 mask, const float* p) { return _mm512_maskz_loadu_ps(mask, p); }
inline V some(__mmask16 mask, const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p));
}

template <class T>
inline double dot_of(const float* a, const T* b, int n) {
    __m512d low = _mm512_setzero_pd(), high = _mm512_setzero_pd();
    for (int j = 0; j < n; j += 16) {
        const __mmask16 mask = n - j >= 16 ? 0xffff : (__mmask16)((1u << (n - j)) - 1);
        const __m512 x = some(mask, a + j), y = some(mask, b + j);
        low = _mm512_fmadd_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(x)),
                              _mm512_cvtps_pd(_mm512_castps512_ps256(y)), low);
        high = _mm512_fmadd_pd(_mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)),
                               _mm512_cvtps_pd(_mm512_extractf32x8_ps(y, 1)), high);
    }
    const __m512d eight = _mm512_add_pd(low, high);
    const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

double dot(const float* a, const float* b, int n) { return dot_of(a, b, n); }
double dot_half(const float* a, const uint16_t* b, int n) { return dot_of(a, b, n); }

template <int N, int ROWS, int PLANES>
inline void screen_tile(const Screen& m, const float* bias, int first, const Codes& c, float* out,
                        int stride) {
    constexpr int CODES = ROWS * PLANES;
    Ints sum[CODES][N];
    UNROLL for (int r = 0; r < CODES; r++) UNROLL for (int p = 0; p < N; p++) sum[r][p] = Ints{} - c.sums[r];
    const Place place(first, m.panels, m.width / 4);
    const uint8_t* w = m.panel + place.begin * 4 * LANES;
    const size_t step = (size_t)place.step * 4 * LANES;
    const int8_t* codes = c.codes;
    for (int j = 0; j < m.width; j += 4, codes += 4 * CODES, w += step) {
        __m512i quad[N];
        UNROLL for (int p = 0; p < N; p++) quad[p] = _mm512_loadu_si512(w + p * 4 * LANES);
        UNROLL for (int r = 0; r < CODES; r++) {
            int32_t four;
            memcpy(&four, codes + 4 * r, 4);
            const __m512i h = _mm512_set1_epi32(four);
            UNROLL for (int p = 0; p < N; p++) sum[r][p] =
                (Ints)_mm512_dpbusd_epi32((__m512i)sum[r][p], quad[p], h);
        }
    }
    UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int p = 0; p < N; p++) {
        const int at = (first + p) * LANES;
        V z = _mm512_cvtepi32_ps((__m512i)sum[r * PLANES][p]);
        if (PLANES == 2)
            z = fma(_mm512_cvtepi32_ps((__m512i)sum[r * PLANES + PLANES - 1][p]), set(1.0f / 254), z);
        store(out + r * stride + p * LANES,
              fma(mul(z, set(c.scale[r])), load(m.scale + at), load(bias + at)));
    }
}

template <int ROWS, int PLANES>
inline void screen_panels(const Screen& m, const float* bias, int first, int n, const Codes& c, float* out,
                          int stride) {
    if (n == PANELS) return screen_tile<PANELS, ROWS, PLANES>(m, bias, first, c, out, stride);
    for (int p = 0; p < n; p++) screen_tile<1, ROWS, PLANES>(m, bias, first + p, c, out + p * LANES, stride);
}

void screen(const Screen& m, const float* bias, int first, int n, const Codes& c, float* out, int stride) {
    switch (c.rows * 10 + c.planes) {
        case 12: return screen_panels<1, 2>(m, bias, first, n, c, out, stride);
        case 22: return screen_panels<2, 2>(m, bias, first, n, c, out, stride);
        case 11: return screen_panels<1, 1>(m, bias, first, n, c, out, stride);
        case 21: return screen_panels<2, 1>(m, bias, first, n, c, out, stride);
        case 31: return screen_panels<3, 1>(m, bias, first, n, c, out, stride);
        case 41: return screen_panels<4, 1>(m, bias, first, n, c, out, stride);
        case 51: return screen_panels<5, 1>(m, bias, first, n, c, out, stride);
        default: return screen_panels<6, 1>(m, bias, first, n, c, out, stride);
    }
}

#include "tile.inc"

#include "integer_avx512.inc"

#include "integer.inc"

}  // namespace

const Level avx512_level = {NAME,     HALF,   true,   false, logits, stats, dot,
                            dot_half, screen, spread, fold,  reach,  cell};
const IntegerLevel avx512_integers = {quantize, products, embed, share, integer_cell};

}  // namespace headfirst

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
