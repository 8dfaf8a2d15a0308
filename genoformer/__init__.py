"""genoformer: transformers for genomic sequence, from reads to consensus and from DNA to tracks."""

__version__ = "0.1.0"

__all__ = ["__version__"]
