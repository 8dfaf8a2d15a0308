"""Kernels of genoformer, usable on their own: a leaf package that imports torch and triton, never genoformer.

    alignment   the alignment loss in Triton, for CUDA; the interpreter runs it on a CPU
    native      the same in C++ (alignment.cpp), compiled on first use, for a CPU
    arguments   what both accept, and how far their numbers reach
    launch      block sizes, device checks and the interpreter switch of Triton kernels

Importing the package imports neither torch nor triton; `native` does without triton.
"""
