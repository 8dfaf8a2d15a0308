"""A train command as a process on the CPU, with one small configuration and data set."""

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from genoformer.models.checkpoint import load_checkpoint


@dataclass(frozen=True)
class TrainCommand:
    """`group` is consensus or expression; runs write into folders of `folder`."""

    group: str
    config: Path
    data: Path
    folder: Path

    @property
    def module(self) -> list[str]:
        """What Python is told to run."""
        return ["-m", "genoformer.cli.main", self.group, "train"]

    def arguments(self, output: str, *more: str) -> list[str]:
        return [str(self.config), "--data", str(self.data), "-o", str(self.folder / output),
                "--device", "cpu", "-t", "1", *more]  # fmt: skip

    def run(self, output: str, *more: str) -> subprocess.CompletedProcess[str]:
        return run_python(*self.module, *self.arguments(output, *more))

    def run_until(self, line: str, output: str, *more: str) -> int:
        """Sends SIGUSR1 once stderr has said `line`; the exit code."""
        process = subprocess.Popen(
            [sys.executable, *self.module, *self.arguments(output, *more)], stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        assert any(line in said for said in process.stderr)
        process.send_signal(signal.SIGUSR1)
        process.communicate(timeout=120)
        return process.returncode

    def assert_refuses(self, more: list[str], code: int, message: str) -> None:
        result = self.run("run", *more)
        assert result.returncode == code
        assert message in result.stderr
        assert "Traceback" not in result.stderr

    def assert_same_weights(self, *outputs: str) -> None:
        first, second = (load_checkpoint(self.folder / name / "final.safetensors").state_dict for name in outputs)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)


def run_python(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, **options)
