"""Architectures and their checkpoints."""
