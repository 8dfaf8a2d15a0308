"""Building and caching the native kernel; what it computes is tested with the other backends in tests/nn."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from genoformer.nn.alignment_wavefront import solve_by_wavefront
from genoformer_kernels import native
from tests.alignment_cases import random_labels, random_probs

KERNELS = Path(native.__file__).resolve().parent.parent
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler is on PATH")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv(native.CACHE_VARIABLE, str(folder))
    monkeypatch.delenv("CXX", raising=False)
    return folder


@pytest.fixture
def counting_compiler(tmp_path, monkeypatch) -> Path:
    """A compiler that writes a line for each library it makes, slowly; returns that file."""
    log, script = tmp_path / "compiled.log", tmp_path / "slow c++"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *-shared*) echo compiled >> "{log}"; sleep 0.5;; esac\nexec "{COMPILER}" "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("CXX", f"'{script}'")
    return log


@needs_compiler
def test_the_library_is_built_once_and_only_the_user_can_reach_it(cache, counting_compiler):
    library = native.build_library()
    assert native.build_library() == library
    assert counting_compiler.read_text() == "compiled\n"
    assert library.parent == cache
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert sorted(file.name for file in cache.iterdir()) == sorted(["alignment.lock", library.name])


@needs_compiler
def test_ranks_that_start_together_compile_once(cache, counting_compiler):
    code = "from genoformer_kernels import native\nprint(native.unavailable_reason(), native.build_library())"
    environment = {**os.environ, native.CACHE_VARIABLE: str(cache), "PYTHONPATH": str(KERNELS)}
    ranks = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    answers = {rank.communicate(timeout=300)[0] for rank in ranks}
    assert counting_compiler.read_text() == "compiled\n"
    assert len(answers) == 1
    assert answers.pop().startswith("None ")


@needs_compiler
def test_a_compiler_outlives_the_signals_that_stop_a_run(cache, tmp_path, monkeypatch):
    script = tmp_path / "signalled c++"
    script.write_text(f'#!/bin/sh\nkill -USR1 $$\nkill -TERM $$\nexec "{COMPILER}" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CXX", f"'{script}'")
    assert native.build_library().exists()


@needs_compiler
def test_another_processor_or_source_is_another_library(cache, tmp_path, monkeypatch):
    first = native.build_library()
    monkeypatch.setattr(native, "_processor", lambda: "x86_64\nflags: sse2")
    second = native.build_library()
    source = tmp_path / "alignment.cpp"
    source.write_text(native._SOURCE.read_text() + "\n")
    monkeypatch.setattr(native, "_SOURCE", source)
    assert len({first, second, native.build_library()}) == 3


def test_without_a_compiler_the_reason_names_what_was_looked_for(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(native.NativeUnavailableError, match=r"no C\+\+ compiler is on PATH \(looked for c\+\+, g\+\+"):
        native.build_library()
    monkeypatch.setenv("CXX", "nosuch++")
    with pytest.raises(native.NativeUnavailableError, match=r"looked for nosuch\+\+"):
        native.build_library()
    monkeypatch.setenv("CXX", "g++ '-O2")
    with pytest.raises(native.NativeUnavailableError, match=r"CXX is .*, no command: No closing quotation"):
        native.build_library()


@needs_compiler
def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(cache, tmp_path, monkeypatch):
    source = tmp_path / "broken.cpp"
    source.write_text("#error this cannot be compiled\n")
    monkeypatch.setattr(native, "_SOURCE", source)
    with pytest.raises(native.NativeUnavailableError, match=r"status \d+: .*error.* this cannot be comp"):
        native.build_library()
    assert [file.name for file in cache.iterdir()] == ["alignment.lock"]


@needs_compiler
def test_a_folder_that_others_can_write_is_refused(cache):
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(native.NativeUnavailableError, match=r"not a folder of this user alone \(owner \d+, mode 777\)"):
        native.build_library()
    assert list(cache.iterdir()) == []


@needs_compiler
def test_a_folder_behind_a_link_is_refused(cache, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    cache.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(native.NativeUnavailableError, match="is not a folder of this user alone"):
        native.build_library()


@needs_compiler
def test_a_cache_that_cannot_be_made_is_a_reason(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(native.CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    with pytest.raises(native.NativeUnavailableError, match=r"cannot make the cache folder .*; set GENOFORMER"):
        native.build_library()


@needs_compiler
def test_a_library_that_is_none_is_a_reason(cache):
    native.build_library().write_bytes(b"not a library")
    code = "from genoformer_kernels import native\nprint(native.unavailable_reason())"
    environment = {**os.environ, "PYTHONPATH": str(KERNELS)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "the compiled library cannot be loaded" in result.stdout


def test_the_cache_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(native.CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert native.cache_folder() == tmp_path / "genoformer"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert native.cache_folder() == tmp_path / ".cache" / "genoformer"


def test_a_user_without_a_home_is_a_reason(monkeypatch):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv(native.CACHE_VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(native.Path, "home", no_home)
    with pytest.raises(native.NativeUnavailableError, match=r"no cache folder: Could not .*; set GENOFORMER_CACHE_DIR"):
        native.cache_folder()


def test_solving_without_a_library_says_why(monkeypatch):
    monkeypatch.setattr(native, "_load", lambda: "no compiler")
    with pytest.raises(native.NativeUnavailableError, match="no compiler"):
        native.solve(torch.ones(1, 2, 5), torch.ones(1, 2, dtype=torch.long), deletion_cost=1.0, temperature=None)


@needs_compiler
@pytest.mark.skipif(platform.machine() != "x86_64", reason="AVX is of x86")
@pytest.mark.parametrize("lacking", ["avx512f", "avx2"])
@pytest.mark.parametrize("temperature", [None, 0.1])
def test_processors_with_narrower_vectors_compute_the_same(cache, monkeypatch, temperature, lacking):
    probs, labels = random_probs(20, 33, sharpness=4.0).float(), random_labels(20, 31)
    settings = {"deletion_cost": 2.0, "temperature": temperature, "gradient": True, "posterior": True}
    exact = solve_by_wavefront(probs.double(), labels, **settings)
    monkeypatch.setenv("CXX", f"{COMPILER} -mno-{lacking}")
    native._load.cache_clear()
    try:
        loss, gradient, posterior = native.solve(probs, labels, **settings)
    finally:
        native._load.cache_clear()
    assert len(list(cache.glob("alignment-*.so"))) == 1
    torch.testing.assert_close(loss.double(), exact.loss, rtol=2e-6, atol=2e-6)
    assert (gradient - exact.gradient).abs().max() <= 1e-5 * exact.gradient.abs().max()
    torch.testing.assert_close(posterior.double(), exact.posterior, rtol=0, atol=5e-6)


@needs_compiler
def test_neither_the_number_of_threads_nor_whose_they_are_changes_a_bit(monkeypatch):
    assert ("backend: OpenMP" in torch.__config__.parallel_info()) == (native._team_launcher() is not None)
    generator = torch.Generator().manual_seed(5)
    probs = torch.rand(50, 20, 5, generator=generator) + 0.01
    labels = torch.randint(0, 5, (50, 19), generator=generator)

    def solve(num_threads: int) -> torch.Tensor:
        former = torch.get_num_threads()
        torch.set_num_threads(num_threads)
        try:
            loss, gradient, _ = native.solve(probs, labels, deletion_cost=10.0, temperature=0.1, gradient=True)
        finally:
            torch.set_num_threads(former)
        return torch.cat([loss, gradient.flatten()])

    expected = solve(1)
    assert torch.equal(solve(3), expected)
    monkeypatch.setattr(native, "_team_launcher", lambda: None)
    assert torch.equal(solve(3), expected)
