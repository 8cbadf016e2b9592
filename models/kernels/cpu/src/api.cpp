// The C interface that Python calls through ctypes: raw pointers, no torch, no Python. Every function may be
// called from any thread at once; a model is not changed after hf_model_finish. Returns below 0: out of
// memory. Reads and writes what the caller's pointers say; costs a microsecond a call beside the work itself.
#include "integer_lstm.h"
#include "topk.h"

#include <algorithm>
#include <cstring>
#include <new>

using namespace headfirst;

namespace {

const Level* level_named(const char* name) {
    const Level* best = &scalar_level;
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vnni");
    // The AVX2 level uses F16C too, which every processor with AVX2 has.
    if (avx2 && (*name == 0 || strcmp(name, "avx2") == 0)) best = &avx2_level;
    if (avx512 && (*name == 0 || strcmp(name, "avx512") == 0)) best = &avx512_level;
#endif
    return *name == 0 || strcmp(best->name, name) == 0 ? best : nullptr;
}

// 0 or what `work` returns, -1 when memory is short: no exception crosses into C.
template <class Work>
int guarded(Work work) {
    try {
        return work();
    } catch (const std::bad_alloc&) {
        return -1;
    }
}

const IntegerLevel* integers_of(const Level& level) {
#if defined(__x86_64__)
    if (&level == &avx512_level) return &avx512_integers;
    if (&level == &avx2_level) return &avx2_integers;
#endif
    return &level == &scalar_level ? &scalar_integers : nullptr;
}

// A new layer that `pack` fills, or null.
template <class Layer, class Pack>
LSTM* made(const char* level, int inputs, int units, int outputs, bool projected, Pack pack) {
    Layer* lstm = nullptr;
    const int code = guarded([&] {
        lstm = new Layer;
        lstm->level = level_named(level);
        lstm->inputs = inputs, lstm->units = units, lstm->outputs = outputs, lstm->projected = projected;
        pack(*lstm);
        return 0;
    });
    if (code == 0) return lstm;
    delete lstm;
    return nullptr;
}

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

// The interface's version: the Python side refuses another.
API int hf_version() { return 8; }

// The best instruction set of this processor ("" asks for it), or `name` if the processor has it, else null.
API const char* hf_level(const char* name) {
    const Level* level = level_named(name);
    return level ? level->name : nullptr;
}

API Model* hf_model_new(const char* level, int width, int64_t words, int bands) {
    Model* model = nullptr;
    if (guarded([&] {
            model = new Model;
            model->level = level_named(level);
            model->width = width, model->words = words;
            model->projections.resize((size_t)bands);
            return 0;
        }) < 0 ||
        model->level == nullptr) {
        delete model;
        return nullptr;
    }
    return model;
}

// Rows and biases (or null) stay the caller's and must live as long as the model.
API int hf_model_head(Model* model, const float* rows, const float* bias, int words, int clusters, int half) {
    return guarded([&] {
        pack(model->head, *model->level, rows, bias, words, model->width, half != 0, true);
        pack(model->columns, *model->level, rows + (size_t)words * model->width,
             bias ? bias + words : nullptr, clusters, model->width, half != 0, true);
        return 0;
    });
}

API int hf_model_projection(Model* model, int band, const float* rows, int width, int half) {
    return guarded([&] {
        pack(model->projections[(size_t)band], *model->level, rows, nullptr, width, model->width, half != 0,
             false);
        return 0;
    });
}

API int hf_model_cluster(Model* model, int band, const float* rows, const float* bias, int64_t first,
                         int words, int half) {
    return guarded([&] {
        Part part;
        part.first = first;
        pack(part, *model->level, rows, bias, words, model->projections[(size_t)band].matrix.words, half != 0,
             true);
        model->clusters.push_back(std::move(part));
        model->band_of.push_back(band);
        return 0;
    });
}

// `excluded`: ascending ids that are never answered. `screen`: also pack the short-list in 8 bits, for the
// fast mode.
API int hf_model_finish(Model* model, const int64_t* excluded, int64_t n, int screen) {
    return guarded([&] {
        const int64_t* id = excluded;
        for (int64_t c = -1; c < (int64_t)model->clusters.size(); c++) {
            Part& part = c < 0 ? model->head : model->clusters[(size_t)c];
            for (; id < excluded + n && *id < part.first + part.matrix.words; id++)
                part.excluded.push_back((int)(*id - part.first));
        }
        if (screen) pack_screen(model->head);
        for (Part& part : model->clusters)
            if (model->level->quick_screen && part.matrix.words >= GROUP) pack_screen(part);
        return 0;
    });
}

// At least the largest singular value of what `hf_model_finish` has lost of the short-list's rows; without it
// the fast mode proves less.
API void hf_model_spectral(Model* model, double value) { model->head.screen.spectral = value; }

API void hf_model_free(Model* model) { delete model; }

API int hf_topk(const Model* model, const float* hidden, int rows, const int64_t* k,
                const int64_t* const* allowed, const int64_t* allowed_count, int fast, int threads,
                int64_t answers, int64_t* ids, float* logprobs, uint8_t* expanded, float* bound) {
    const TopK call{hidden,  rows,    k,   allowed,  allowed_count, fast != 0,
                    threads, answers, ids, logprobs, expanded,      bound};
    return guarded([&] { return topk(*model, call); });
}

API int hf_target_logprobs(const Model* model, const float* hidden, const int64_t* targets, int rows,
                           int fast, int threads, float* out, float* bound) {
    return guarded(
        [&] { return target_logprobs(*model, hidden, targets, rows, fast != 0, threads, out, bound); });
}

API LSTM* hf_lstm_new(const char* level, int inputs, int units, int outputs, const float* input,
                      const float* hidden, const float* input_bias, const float* hidden_bias,
                      const float* projection, int half) {
    return made<FloatLSTM>(level, inputs, units, outputs, projection != nullptr, [&](FloatLSTM& lstm) {
        pack_lstm(lstm, input, hidden, input_bias, hidden_bias, projection, half);
    });
}

// Weights of 8 bits; see pack_integer_lstm.
API LSTM* hf_lstm_new_integer(const char* level, int inputs, int units, int outputs, const int8_t* input,
                              const float* input_scale, const int8_t* hidden, const float* hidden_scale,
                              const float* bias, const int8_t* projection, const float* projection_scale) {
    return made<IntegerLSTM>(level, inputs, units, outputs, projection != nullptr, [&](IntegerLSTM& lstm) {
        lstm.integers = integers_of(*lstm.level);
        pack_integer_lstm(lstm, {input, input_scale}, {hidden, hidden_scale}, bias,
                          {projection, projection_scale});
    });
}

// Where inputs may be words: see add_table and the bands in lstm.h and integer_lstm.h.
API int hf_lstm_table(LSTM* lstm, const float* vectors, int64_t words) {
    return guarded([&] {
        lstm->add_table(vectors, words);
        return 0;
    });
}

API int hf_lstm_band(LSTM* lstm, const float* rows, const float* matrix, int64_t words, int width, int half) {
    return guarded([&] {
        add_band(*static_cast<FloatLSTM*>(lstm), rows, matrix, words, width, half != 0);
        return 0;
    });
}

// Of an LSTM with weights of 8 bits: all its words, band by band. The rows stay the caller's.
API int hf_lstm_vectors(LSTM* lstm, const float* rows, const float* projection, float scale, int64_t words,
                        int width) {
    return guarded([&] {
        static_cast<IntegerLSTM*>(lstm)->add_vectors(rows, projection, scale, words, width);
        return 0;
    });
}

// The vectors (n, inputs) of words that hf_lstm_vectors told of. Above 0: BAD_WORD.
API int hf_lstm_embed(const LSTM* lstm, const int64_t* ids, int n, float* out) {
    const IntegerLSTM& integer = *static_cast<const IntegerLSTM*>(lstm);
    for (int i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= integer.words) return BAD_WORD;
    return guarded([&] {
        const size_t stride = (size_t)integer.vector_stride(), inputs = (size_t)integer.inputs;
        std::vector<float> made(n * stride);
        integer.vectors(ids, n, made.data());
        for (int i = 0; i < n; i++) std::copy_n(&made[i * stride], inputs, out + i * inputs);
        return 0;
    });
}

// `vectors` or `ids`, the other null; see LSTMCall. Above 0: BAD_LENGTH or BAD_WORD.
API int hf_lstm_run(const LSTM* lstm, const float* vectors, const int64_t* ids, int rows, int steps,
                    const int64_t* lengths, const float* h, const float* c, float* h_after, float* c_after,
                    int64_t state_stride, float* out, int threads) {
    const LSTMCall call{vectors, ids,     rows,    steps,        lengths, h,
                        c,       h_after, c_after, state_stride, out,     threads};
    return guarded([&] { return run_lstm(*lstm, call); });
}

API void hf_lstm_free(LSTM* lstm) { delete lstm; }
