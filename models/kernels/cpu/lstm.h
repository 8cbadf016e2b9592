// One LSTM layer, with or without a projection, for many short sequences at once.
#pragma once

#include "model.h"

namespace headfirst {

struct LSTM {
    const Level* level = nullptr;
    int inputs = 0, units = 0, outputs = 0;  // outputs: of the projection, or units
    bool projected = false;
    // Gates of 16 units are one group of panels: 16 rows each of input, forget, cell and output gate.
    Part from_input, from_hidden, projection;
};

// Weights as torch.nn.LSTM has them: (4 units, inputs), (4 units, outputs), biases (4 units) or null, projection
// (outputs, units) or null. Copied. `half`: input, hidden and projection weights are float16 numbers (bits 0, 1, 2).
void pack_lstm(LSTM& lstm, const float* input, const float* hidden, const float* input_bias, const float* hidden_bias,
               const float* projection, int half);

// rows sequences of up to `steps` inputs (rows, steps, inputs); `lengths` (rows) or null: all `steps`.
// h (rows, outputs) and c (rows, units) are the state, before and after; out (rows, steps, outputs) is 0 beyond a length.
void run_lstm(const LSTM& lstm, const float* inputs, int rows, int steps, const int64_t* lengths, float* h, float* c,
              float* out, int threads);

}  // namespace headfirst
