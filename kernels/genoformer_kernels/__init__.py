"""GPU kernels of genoformer: a leaf package that imports torch and triton, never genoformer; it holds none yet."""
