"""Every exception that genoformer raises on purpose.

    GenoformerError
    ├── UsageError            exit 2: flags, configs or arguments that cannot work
    │   └── ConfigError       a key or value of a configuration file or `--set`
    └── DataError             exit 1: a file's content is broken or does not fit
        ├── AlignmentError    a BAM, FASTQ or their records
        ├── CheckpointError   a TensorFlow checkpoint or a safetensors file
        └── OutputError       an output that cannot be written, resumed or joined

A message is one line: what was found and where, what was expected, what to do.
"""

from __future__ import annotations


class GenoformerError(Exception):
    """Base of all errors that a user can cause; `exit_code` is the command line's status."""

    exit_code = 1


class UsageError(GenoformerError):
    """Flags, configuration or arguments that cannot work together."""

    exit_code = 2


class ConfigError(UsageError):
    """An unknown key or a value out of range in a configuration."""


class DataError(GenoformerError):
    """A file whose content is broken or does not fit the others."""


class AlignmentError(DataError):
    """A BAM or FASTQ file, or a record in it, that cannot be used."""


class CheckpointError(DataError):
    """A checkpoint that is not whole, not of the expected kind, or does not fit its config."""


class OutputError(DataError):
    """An output file that cannot be written, resumed or joined."""
