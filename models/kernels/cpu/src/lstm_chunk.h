// Rows that run together, longest first, so that those still running are always the first ones; and how a
// call's rows are shared out into chunks that fit L2.
#pragma once

#include "lstm.h"
#include "pool.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace headfirst {

constexpr int CHUNK = 48;                     // rows
constexpr int CHUNK_ROWS_WORTH_A_THREAD = 2;  // fewer: threads share cells
constexpr int64_t WORTH_SHARING = 1 << 17;    // multiply-adds
constexpr size_t WINDOW = 1 << 20;            // gates that are made at once: 4 MiB as float32

class ChunkRows {
  public:
    // `rows` are in descending order of length.
    ChunkRows(const LSTM& l, const LSTMCall& call, std::vector<int> rows, int threads)
        : call_(call), rows_(std::move(rows)), threads_(threads), n_((int)rows_.size()), layer_(l) {}

  protected:
    int length(int i) const { return call_.lengths ? (int)call_.lengths[rows_[(size_t)i]] : call_.steps; }

    int running(int t) const {
        int n = n_;
        while (n > 0 && length(n - 1) <= t) n--;
        return n;
    }

    // The place of row i's step t among the call's inputs.
    size_t at(int i, int t) const { return (size_t)rows_[(size_t)i] * call_.steps + t; }

    // Run group(g) for all g, shared among threads if there is enough to do.
    template <class Group>
    void groups(int n, int64_t work, Group group) const {
        const int threads = work < WORTH_SHARING ? 1 : threads_;
        const int tasks = std::min(n, threads <= 1 ? 1 : 4 * threads);
        parallel(tasks, threads, [&](int t) {
            for (int g = (int)((int64_t)n * t / tasks); g < (int)((int64_t)n * (t + 1) / tasks); g++)
                group(g);
        });
    }

    // window(t, end) for stretches of steps whose gates, `stride` numbers a word, are made at once.
    template <class Window>
    void windows(int stride, Window window) const {
        const int64_t steps = std::max<int64_t>(1, (int64_t)(WINDOW / (size_t)stride) / n_);
        for (int t = 0, end, longest = length(0); t < longest; t = end) {
            end = (int)std::min<int64_t>(longest, t + steps);
            window(t, end);
        }
    }

    // The state before, to rows of `outputs` and of `c_stride` numbers; and the state after, from such.
    void load(float* h, float* c, int c_stride) const {
        for (int i = 0; i < n_; i++) {
            const size_t from = (size_t)rows_[i] * call_.state_stride;
            std::copy_n(call_.h + from, layer_.outputs, h + (size_t)i * layer_.outputs);
            std::copy_n(call_.c + from, layer_.units, c + (size_t)i * c_stride);
        }
    }

    void store(const float* h, const float* c, int c_stride) const {
        for (int i = 0; i < n_; i++) {
            const size_t to = (size_t)rows_[i] * call_.state_stride;
            std::copy_n(h + (size_t)i * layer_.outputs, layer_.outputs, call_.h_after + to);
            std::copy_n(c + (size_t)i * c_stride, layer_.units, call_.c_after + to);
            if (!call_.out) continue;
            float* out = call_.out + at(i, 0) * layer_.outputs;
            std::fill(out + (size_t)length(i) * layer_.outputs, out + (size_t)call_.steps * layer_.outputs,
                      0.0f);
        }
    }

    const LSTMCall& call_;
    const std::vector<int> rows_;
    const int threads_, n_;

  private:
    const LSTM& layer_;
};

// Runs a call's rows in chunks; `Scratch` is kept by a thread between calls.
template <class Chunk, class Scratch, class Layer>
void run_chunks(const Layer& l, const LSTMCall& call) {
    std::vector<int> order((size_t)call.rows);
    std::iota(order.begin(), order.end(), 0);
    if (call.lengths)
        std::stable_sort(order.begin(), order.end(),
                         [&](int a, int b) { return call.lengths[a] > call.lengths[b]; });
    int chunks = (call.rows + CHUNK - 1) / CHUNK;
    if (call.rows >= call.threads * CHUNK_ROWS_WORTH_A_THREAD)
        chunks = (chunks + call.threads - 1) / call.threads * call.threads;
    parallel(chunks, call.threads, [&](int k) {
        static thread_local Scratch scratch;
        std::vector<int> rows;  // every chunk has rows of all lengths, so that they take equally long
        for (size_t i = (size_t)k; i < order.size(); i += (size_t)chunks) rows.push_back(order[i]);
        Chunk(l, call, std::move(rows), chunks > 1 ? 1 : call.threads, scratch).run();
    });
}

}  // namespace headfirst
