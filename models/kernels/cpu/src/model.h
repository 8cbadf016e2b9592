// The output layer as the kernels read it: packed once, never changed, so that any number of threads may use
// it. Bytes a weight: 4 of the panels (2 as float16, and 2 more of float16 rows for rescoring), 1 of a
// screen; the float32 rows stay the caller's. How fast they are read is told where they are read:
// head.cpp, topk.cpp, score.cpp.
#pragma once

#include "tile.h"

#include <cstdlib>
#include <memory>
#include <vector>

namespace headfirst {

struct Free {
    void operator()(void* p) const { std::free(p); }
};
using Memory = std::unique_ptr<void, Free>;

// `bytes` of zeros, on huge pages where the system gives them: the weights are streamed.
Memory allocate(size_t bytes);

// The exact dot product of `input` and word w, with the word's bias.
inline double exact_logit(const Level& level, const Matrix& m, const float* input, int64_t w) {
    const double z = m.half_rows ? level.dot_half(input, m.half_rows + w * m.width, m.width)
                                 : level.dot(input, m.rows + w * m.width, m.width);
    return m.row_bias ? z + m.row_bias[w] : z;
}

struct Part {  // the head's words, its clusters' columns, a projection or the words of a cluster
    Matrix matrix;
    int64_t first = 0;          // the id of its first word
    std::vector<int> excluded;  // positions of words never answered, ascending
    Screen screen;              // the matrix in 8 bits; width 0: none
    std::vector<Memory> memory;
};

struct Model {
    const Level* level = nullptr;
    int width = 0;  // of a hidden row
    int64_t words = 0;
    Part head, columns;             // the short-list; the clusters' own columns of the head
    std::vector<Part> projections;  // a band each
    std::vector<Part> clusters;
    std::vector<int> band_of;  // a cluster each
};

// Pack rows (words, width) with their biases (or null); the rows stay the caller's and are read later.
// `rescored`: also keep float16 rows, which are closer together in memory.
void pack(Part& part, const Level& level, const float* rows, const float* bias, int words, int width,
          bool half, bool rescored);
void pack_screen(Part& part);  // also in 8 bits

// The beginnings of blocks of at most BLOCK of n rows, of even sizes, and n.
inline void split(int n, std::vector<int>& first) {
    const int blocks = (n + BLOCK - 1) / BLOCK;
    first.assign((size_t)blocks + 1, 0);
    for (int b = 1; b <= blocks; b++) first[b] = (int)((int64_t)n * b / blocks);
}

// Rows in such blocks, packed as tiles read them.
struct Blocks {
    std::vector<int> first;     // block b holds rows first[b] .. first[b + 1] - 1
    std::vector<float> packed;  // block b begins at first[b] * width
    int width = 0;
    int count() const { return (int)first.size() - 1; }
    int rows(int b) const { return first[b + 1] - first[b]; }
    const float* block(int b) const { return packed.data() + (size_t)first[b] * width; }
    // row(i) is a pointer to the floats of row i
    template <class Row>
    void fill(int n, int row_width, Row row) {
        width = row_width;
        split(n, first);
        packed.resize((size_t)n * width);
        for (int b = 0; b < count(); b++) {
            const int many = rows(b);
            float* to = packed.data() + (size_t)first[b] * width;
            for (int r = 0; r < many; r++) {
                const float* from = row(first[b] + r);
                for (int j = 0; j < width; j++) to[(size_t)j * many + r] = from[j];
            }
        }
    }
};

}  // namespace headfirst
