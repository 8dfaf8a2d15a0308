import pytest

from tests.cluster_inputs import environment
from tests.private_slurm import Slurm, missing_programs, private_slurm


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A Slurm of one's own, whose jobs run the `genoformer` of this checkout."""
    if missing := missing_programs():
        pytest.skip(f"no Slurm on this machine: {', '.join(missing)} not found; Debian has them in slurm-wlm and munge")
    with private_slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield Slurm({**running.environment, **environment(tmp_path_factory.mktemp("bin"), running.environment["PATH"])})
