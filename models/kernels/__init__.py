"""The output layer's two operations, top-k and target scoring, made fast: one file a technique.

To be read in this order; each file begins with what it does, what it reads and writes, and its roofline:

    base.py               what a kernel is; torch's operators, the reference and fallback
    choice.py             which kernels serve a model: by device, installation and a measurement at load
    cpu.py                the CPU's, in C++: its two modes, its memory
      cpu_weights.py      what is packed of the weights, for both modes
      library.py          how the extension is found and called
      cpu/tile.h          the layout of packed weights, and the pieces of each instruction set
        tile.inc          those pieces for float32; screen.inc: for 8 bits without dot products of them
        avx512.cpp, avx2.cpp, scalar.cpp
      cpu/model.*         packing
      cpu/head.*          the head pass; coded.h: hidden rows in 8 bits
      cpu/topk.*          the search; candidates.*: a row's best words; cluster_screen.h: what is not read
      cpu/score.cpp       scoring given words
      cpu/pool.*          threads
      cpu/api.cpp         the C interface
    cpu_lstm.py           the LSTM body on the CPU; cpu/lstm*.cpp
    triton_kernel.py      the GPU's, in Triton
      triton_topk.py      top-k, in four steps: triton_head, triton_select, triton_tail, triton_finish
      triton_scorer.py    scoring: triton_score
      triton_weights.py, triton_buffers.py, triton_masks.py, triton_common.py
"""
