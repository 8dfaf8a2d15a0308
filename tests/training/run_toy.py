"""Started by tests as a process of its own, alone or by torchrun: trains toy runs and exits as a command would.

    run_toy.py FOLDER [FIELD=VALUE ...] [--workers N] [--resume] [--send SIGNAL:BATCH ...] [--whole FOLDER]

For each `--send` there is a run, the second one resumed, in which the last process sends the signal to itself when it
computes that batch. `--whole` is the folder of a further run, without signals.
"""

from __future__ import annotations

import argparse
import functools
import json
import signal
import sys
from pathlib import Path

from genoformer.training.distributed import start_process
from tests.training.toy import ConsensusTask, Pileups, config_of, run_toy


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("fields", nargs="*")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--send", action="append", default=[])
    parser.add_argument("--whole", type=Path)
    options = parser.parse_args()
    changes = {name: json.loads(value) for name, value in (text.split("=") for text in options.fields)}
    runs = [(options.folder, send, options.resume or bool(place)) for place, send in enumerate(options.send or [""])]
    if options.whole:
        runs.append((options.whole, "", False))
    with start_process("cpu") as process:
        for folder, send, resume in runs:
            name, _, batch = send.partition(":")
            if send and process.rank == process.world_size - 1:
                task = functools.partial(ConsensusTask, int(batch), signal.Signals[name])
            else:
                task = ConsensusTask
            outcome, _, _ = run_toy(
                folder, config=config_of(**changes), task=task, source=Pileups(22), process=process,
                num_workers=options.workers, resume=resume,
            )  # fmt: skip
            print(f"left at step {outcome.step} with {outcome.exit_code}", flush=True)
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main())
