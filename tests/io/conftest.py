import pytest

from tests.bam_builder import write_bam


@pytest.fixture
def pair(tmp_path):
    """Writes BAM files of subreads and CCS reads; gives the two paths."""

    def write(subreads, ccs, references=()):
        paths = tmp_path / "subreads.bam", tmp_path / "ccs.bam"
        return write_bam(paths[0], subreads, references), write_bam(paths[1], ccs)

    return write
