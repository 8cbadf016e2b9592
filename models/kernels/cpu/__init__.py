"""The C++ kernels: `src/` compiled, loaded through ctypes."""
