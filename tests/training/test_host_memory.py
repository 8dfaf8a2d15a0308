import platform
import subprocess
import sys

import pytest

from genoformer.training import host_memory

FAULTS = """
import resource, torch
from genoformer.training.host_memory import keep_freed_memory
{call}
torch.zeros(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.zeros(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(call: str) -> int:
    """Pages that the kernel had to map for twenty tensors of 64 MiB, one after another, in a process of their own."""
    code = FAULTS.format(call=call)
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_tensors_of_one_size_use_the_same_pages_again():
    assert 2 * faults("assert keep_freed_memory()") < faults("")


def test_another_c_library_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(host_memory.platform, "libc_ver", lambda: ("", ""))
    assert not host_memory.keep_freed_memory()
