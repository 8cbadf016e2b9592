"""The output layer's two operations, top-k and target scoring, made fast: one file a technique.

To be read in this order; each file begins with what it does, what it reads and writes, and its roofline:

    base.py               what a kernel is; the reference and fallback is `AdaptiveSoftmax`
    choice.py             which kernels serve a model: by device, installation and a measurement at load
    cpu/kernel.py         the CPU's, in C++: its two modes, its memory
      weights.py          what is packed of the weights, for both modes
      library.py          how the extension is found and called
      src/tile.h          the layout of packed weights, and the pieces of each instruction set
        tile.inc          those pieces for float32; 8 bits are multiplied as each set can:
        avx512.cpp, avx2.cpp, scalar.cpp
      src/model.*         packing
      src/head.*          the head pass; coded.h: hidden rows in 8 or 16 bits; bound.h: what is told of log Z
      src/topk.*          the search; candidates.*: a row's best words; cluster_screen.h: what is not read
      src/score.cpp       scoring given words
      src/pool.*          threads
      src/api.cpp         the C interface
      lstm.py             the LSTM body on the CPU; src/lstm*
    triton/kernel.py      the GPU's, in Triton
      topk.py             top-k, in four steps: head.py, select.py, tail.py, finish.py
      scorer.py           scoring: score.py
      weights.py, buffers.py, masks.py, common.py
"""
