"""Torch modules and functions without files or genomics."""
