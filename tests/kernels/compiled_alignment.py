"""The Triton kernel compiled ahead of time for chips that are not there; `test_alignment.py` runs this file.

It needs a process of its own, in which triton does not interpret. All tools come with triton, no GPU is needed.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from genoformer_kernels import alignment, launch

KERNEL = alignment._alignment_kernel
TOOL = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
SHARED_LIMIT = {80: 166_912, 90: 232_448, 100: 232_448}
REGISTERS_OF_A_MULTIPROCESSOR = 65_536
LENGTHS = [1, 100, 200, 500, 1024]


@dataclass(frozen=True)
class Resources:
    """What a compiled kernel takes."""

    registers: int
    stack: int
    local_accesses: int
    shared: int
    threads: int


def compile_kernel(capability: int, shape: launch.LaunchShape, folder: Path, *, probs: str = "fp32", **modes: bool):
    """Resources of the kernel for one chip."""
    constants = {"COLUMNS": shape.columns, "LABELS": shape.labels, **modes}
    names = KERNEL.arg_names
    signature = {}
    for name in names:
        if name in constants:
            signature[name] = "constexpr"
        elif name.endswith("_ptr"):
            signature[name] = {"probs_ptr": f"*{probs}", "labels_ptr": "*i64", "bases_ptr": "*i32"}.get(name, "*fp32")
        else:
            signature[name] = "fp32" if name.startswith(("deletion", "scale", "unit")) else "i32"
    source = ASTSource(
        fn=KERNEL,
        signature=signature,
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(n,): [["tt.divisibility", 16]] for n, name in enumerate(names) if name.endswith("_ptr")},
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=shape.options)
    file = folder / "kernel.cubin"
    file.write_bytes(compiled.asm["cubin"])
    usage, assembly = (
        subprocess.run([TOOL, option, file], capture_output=True, text=True, check=True).stdout
        for option in ("--dump-resource-usage", "--dump-sass")
    )
    assert "EXIT" in assembly
    return Resources(
        int(re.search(r"REG:(\d+)", usage)[1]),
        int(re.search(r"STACK:(\d+)", usage)[1]),
        len(re.findall(r"\b(?:LDL|STL)\b", assembly)),
        compiled.metadata.shared,
        32 * shape.num_warps,
    )


def complaints(found: Resources, capability: int) -> list[str]:
    """What is wrong with a kernel's resources."""
    wrong = []
    if found.stack or found.local_accesses:
        wrong.append(f"spills: {found.stack} bytes of stack, {found.local_accesses} accesses")
    if found.registers > 128 or found.registers * found.threads > REGISTERS_OF_A_MULTIPROCESSOR:
        wrong.append(f"{found.registers} registers in each of {found.threads} threads")
    if found.shared > SHARED_LIMIT[capability]:
        wrong.append(f"{found.shared} bytes of shared memory")
    return wrong


def test_the_wanted_triton_compiles():
    assert triton.__version__ == os.environ["GENOFORMER_EXPECTED_TRITON"]
    assert not launch.is_interpreting()


@pytest.mark.parametrize("capability", SHARED_LIMIT)
@pytest.mark.parametrize("length", LENGTHS)
def test_loss_gradient_and_posterior(capability, length, tmp_path):
    shape = launch.launch_shape(length, length)
    for hard in (False, True):
        found = compile_kernel(capability, shape, tmp_path, HARD=hard, GRADIENT=True, POSTERIOR=False)
        assert complaints(found, capability) == []
    found = compile_kernel(capability, shape, tmp_path, HARD=False, GRADIENT=True, POSTERIOR=True)
    assert complaints(found, capability) == []


@pytest.mark.parametrize("capability", SHARED_LIMIT)
def test_loss_alone_posterior_alone_half_precision_and_long_labels(capability, tmp_path):
    shape = launch.launch_shape(100, 100)
    modes = {"HARD": False, "GRADIENT": False, "POSTERIOR": False}
    longest = launch.launch_shape(alignment.MAX_COLUMNS, alignment.MAX_LABELS)
    results = [
        compile_kernel(capability, shape, tmp_path, **modes),
        compile_kernel(capability, shape, tmp_path, **{**modes, "POSTERIOR": True}),
        compile_kernel(capability, shape, tmp_path, probs="bf16", **{**modes, "GRADIENT": True}),
        compile_kernel(capability, shape, tmp_path, probs="fp16", **{**modes, "GRADIENT": True}),
        compile_kernel(capability, longest, tmp_path, **{**modes, "GRADIENT": True}),
    ]
    assert [complaints(found, capability) for found in results] == [[]] * len(results)


def test_a_kernel_that_spills_is_seen(tmp_path):
    crowded = launch.LaunchShape(columns=1024, labels=128, num_warps=2, max_registers=None)
    found = compile_kernel(90, crowded, tmp_path, HARD=False, GRADIENT=True, POSTERIOR=False)
    assert found.stack > 0
    assert found.local_accesses > 0
    assert len(complaints(found, 90)) == 2
