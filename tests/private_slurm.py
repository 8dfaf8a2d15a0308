"""A Slurm for tests: two nodes on this machine, with key, ports and state of their own in one folder.

It needs the programs of Debian's slurm-wlm and munge, installs nothing and touches no other Slurm of the machine.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel", "sinfo")
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
NODES = ("node1", "node2")
ENDED = ("CANCELLED", "COMPLETED", "FAILED", "NODE_FAIL", "TIMEOUT")
PATIENCE = 900  # seconds that a wait may last: on a busy machine Python alone takes a minute to import torch

# A requeued job waits for cred_expire seconds: 120 where that is not set, or is below 5. The nodes share the cores.
CONFIG = """\
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
KillWait=120
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 State=UNKNOWN
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing_programs() -> list[str]:
    """What is not installed of what this module needs."""
    return [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Returns once the condition holds; AssertionError where it never does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.2)


@dataclass(frozen=True)
class Slurm:
    """A running Slurm; `environment` is what its commands need."""

    environment: Mapping[str, str]

    def run(self, *command: object) -> str:
        """Standard output of one of its commands, which must succeed."""
        arguments = [str(word) for word in command]
        result = subprocess.run(arguments, env=self.environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{arguments}\n{result.stdout}\n{result.stderr}"
        return result.stdout

    def submit(self, *arguments: object, **variables: str) -> str:
        """The id of a new job; `variables` are added to its environment."""
        return Slurm({**self.environment, **variables}).run("sbatch", "--parsable", *arguments).strip()

    def job(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says: JobState, ExitCode, Restarts, ..."""
        fields = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return dict(field.split("=", 1) for field in fields if "=" in field)

    def wait_for(self, job: str, *states: str) -> dict[str, str]:
        """The job once it is in one of these states, or has ended in another."""
        found: dict[str, str] = {}

        def is_there() -> bool:
            found.update(self.job(job))
            return found["JobState"] in (*states, *ENDED)

        wait_until(is_there, f"job {job} is {' or '.join(states)}")
        return found

    def processes(self, job: str, word: str = "") -> list[int]:
        """Ids of a job's processes on its first node, of those with this word in their command line if one is given."""
        found = self.job(job)
        lines = self.run("scontrol", "listpids", found["JobId"], found["BatchHost"]).splitlines()[1:]
        pids = [int(line.split()[0]) for line in lines]
        return [pid for pid in pids if not word or word in Path(f"/proc/{pid}/cmdline").read_text().split("\0")]


@contextlib.contextmanager
def private_slurm(folder: Path) -> Iterator[Slurm]:
    """A Slurm that lives in a folder and ends, with its jobs, when the context is left."""
    host = socket.gethostname().partition(".")[0]
    (folder / "state").mkdir()
    (folder / "slurm.conf").write_text(
        CONFIG.format(host=host, user=getpass.getuser(), folder=folder, nodes=NODES, ports=_free_ports(3))
    )
    (folder / "munge.key").touch(0o600)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    slurm = Slurm({**os.environ, "PATH": PATH, "SLURM_CONF": str(folder / "slurm.conf")})
    munge = [f"--{kind}-file={folder}/munge.{kind}" for kind in ("key", "log", "pid", "seed")]
    with contextlib.ExitStack() as stack:
        # --force: the socket lies in a folder of this user alone, who runs all of it
        _start(stack, slurm, folder, "munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge)
        wait_until((folder / "munge.socket").exists, "munged listens")
        daemons = [_start(stack, slurm, folder, "slurmctld", "-D")]
        for node in NODES:
            (folder / f"spool-{node}").mkdir()
            daemons.append(_start(stack, slurm, folder, "slurmd", "-D", "-N", node))
        wait_until(
            lambda: _num_idle(slurm) == len(NODES) or _are_gone(daemons), f"nodes are idle; logs are in {folder}"
        )
        assert not _are_gone(daemons), f"a daemon ended; logs in {folder}"
        try:
            yield slurm
        finally:
            slurm.run("scancel", "--user", getpass.getuser())
            wait_until(lambda: not slurm.run("squeue", "--noheader"), "no job is left")


def _start(stack: contextlib.ExitStack, slurm: Slurm, folder: Path, *command: str) -> subprocess.Popen[bytes]:
    """Starts a daemon that is stopped when the stack unwinds."""
    log = stack.enter_context((folder / f"{command[0]}.out").open("ab"))
    daemon = stack.enter_context(
        subprocess.Popen(command, env=slurm.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    )
    stack.callback(daemon.terminate)
    return daemon


def _are_gone(daemons: list[subprocess.Popen[bytes]]) -> bool:
    return any(daemon.poll() is not None for daemon in daemons)


def _num_idle(slurm: Slurm) -> int:
    result = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--states=idle"], env=slurm.environment, capture_output=True, check=False
    )
    return len(result.stdout.splitlines())


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
