"""How a run went, for its summary: time by stage, use of the devices, and which stage held up the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from genoformer.io.reads import read_json
from genoformer.workflows.device_pool import DevicePool
from genoformer.workflows.output import summary_path
from genoformer.workflows.pipeline import Flow, StageSeconds
from genoformer.workflows.predictor import Predictor


def run_facts(predictor: Predictor, pool: DevicePool[Any, Any] | None, flow: Flow, total: float) -> dict[str, Any]:
    """What a summary says about the machine's part of a run.

    Args:
        total: seconds from the start of the command to the end of its last record.
    """
    seconds, use = flow.seconds, pool.use if pool else []
    seconds.model = sum(device.busy_seconds for device in use)
    return {
        "model": predictor.name,
        "devices": [device.facts(seconds.streaming) for device in use],
        "pileup_processes": predictor.num_workers,
        "batch_size": predictor.batch_size,
        "seconds": {name: round(value, 3) for name, value in vars(seconds).items()} | {"total": round(total, 3)},
        "queues": flow.queues.summary(),
        "bottleneck": bottleneck(seconds, predictor.num_workers),
    }


def joined_facts(facts: list[dict[str, Any]]) -> dict[str, Any]:
    """The facts of all shards of a run: seconds and devices add up; `longest` is the seconds of the slowest shard."""
    seconds = {name: round(sum(one["seconds"][name] for one in facts), 3) for name in facts[0]["seconds"]}
    devices: dict[str, dict[str, Any]] = {}
    for device in (device for one in facts for device in one["devices"]):
        total = devices.setdefault(device["device"], {"device": device["device"], "batches": 0, "busy_seconds": 0.0})
        total["batches"] += device["batches"]
        total["busy_seconds"] = round(total["busy_seconds"] + device["busy_seconds"], 3)
    return {
        "model": facts[0]["model"],
        "num_shards": len(facts),
        "devices": list(devices.values()),
        "seconds": seconds,
        "longest": max(one["seconds"]["total"] for one in facts),
        "bottleneck": Counter(one["bottleneck"] for one in facts).most_common(1)[0][0],
    }


def joined_run(shards: Iterable[str | Path]) -> dict[str, Any]:
    """The `run` of a joined summary; nothing where a shard's summary is not there or does not say how it went."""
    paths = [summary_path(shard) for shard in shards]
    runs = [read_json(path).get("run", {}) for path in paths if path.exists()]
    if len(runs) < len(paths) or not all("bottleneck" in run for run in runs):
        return {}
    return {"run": joined_facts(runs)}


def bottleneck(seconds: StageSeconds, num_workers: int) -> str:
    """The stage that the others waited for most: read, pileup, packing, model or write."""
    before = "read" if seconds.read > seconds.pileup / max(1, num_workers) else "pileup"
    waiting = {
        before: seconds.waiting_for_windows,
        "model": seconds.waiting_for_model,
        "write": seconds.waiting_for_writer,
    }
    waiting["packing"] = seconds.streaming - sum(waiting.values())
    return max(waiting, key=lambda stage: waiting[stage])
