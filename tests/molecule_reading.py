"""Molecules of two BAM files, and the errors that reading them ends with."""

import pytest

from genoformer.errors import AlignmentError
from genoformer.io.bam import BamReader
from genoformer.io.ccs_finder import CcsFinder
from genoformer.io.subreads import iterate_molecules


def read_molecules(subreads_path, ccs_path, start=None, end=None):
    """Molecules of two files and whether an index was needed."""
    with BamReader(subreads_path) as subreads, CcsFinder(ccs_path) as ccs:
        assert ccs.path == ccs_path
        return list(iterate_molecules(subreads, ccs, start, end)), ccs.is_indexed


def error_text(read):
    """Text of the AlignmentError that a call ends with: one line."""
    with pytest.raises(AlignmentError) as error:
        read()
    text = str(error.value)
    assert text.isprintable()
    return text
