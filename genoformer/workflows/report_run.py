"""`genoformer report`: how a run went, as one HTML page and as files that MultiQC collects, from its summary."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from genoformer.errors import OutputError, UsageError
from genoformer.io.reads import read_json, write_json, write_text
from genoformer.workflows.output import summary_path
from genoformer.workflows.prediction_store import summary_in
from genoformer.workflows.report import as_text, page, table

logger = logging.getLogger(__name__)

_WORK = {"read": "reading", "pileup": "drafts and pileups", "model": "model", "write": "stitching and writing"}
_WAITS = {
    "waiting_for_windows": "for pileups",
    "waiting_for_model": "for the model",
    "waiting_for_writer": "for the writer",
}
_WINDOWS = {
    "windows_called": "corrected",
    "windows_skipped": "kept as in the CCS read: good enough",
    "windows_overflowing": "kept as in the CCS read: too many columns",
}
_STYLE = "<style>meter { width: 14rem; } td.bar { text-align: left; }</style>"


def write_run_report(outputs: Iterable[str], html: str | None, multiqc: str | None) -> None:
    """Writes the report of one run or several.

    Args:
        outputs: what the runs wrote, or their summaries.
        html: page to write.
        multiqc: folder for files that MultiQC finds by their names.
    Raises:
        UsageError: two outputs of the same name.
        OutputError: an output without a whole summary, or files that cannot be written.
    """
    summaries: dict[str, dict[str, Any]] = {}
    for output in outputs:
        name, summary = _summary(output)
        if name in summaries:
            raise UsageError(f"{output}: the name '{name}' is there twice; report these runs one by one")
        summaries[name] = summary
    try:
        html_page, files = run_page(summaries), multiqc_files(summaries)
    except KeyError as error:
        raise OutputError(f"a summary of {', '.join(summaries)} lacks {error}; run it again") from None
    if html is not None:
        write_text(html, html_page.decode())
    if multiqc is not None:
        if not files:
            logger.warning("%s: nothing for MultiQC, which takes runs that write reads", ", ".join(summaries))
        for name, content in files.items():
            path = Path(multiqc) / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"{path.parent}: cannot be made: {error.strerror}") from None
            write_json(path, content)


def _summary(output: str) -> tuple[str, dict[str, Any]]:
    """The name of an output and its summary."""
    suffix = str(summary_path(""))
    name = Path(output.removesuffix(suffix))
    path = summary_in(name) if name.is_dir() else summary_path(name)
    if not path.exists():
        raise OutputError(f"{path}: is not there; name what a run wrote, of several files the first")
    summary = read_json(path)
    if not isinstance(summary.get("counts"), dict) or not isinstance(summary.get("identity"), dict):
        raise OutputError(f"{path}: is no summary of a run; name what the run wrote")
    return name.name, summary


def run_page(summaries: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The page of runs by the names of their outputs, UTF-8."""
    parts = [_STYLE]
    for name, summary in summaries.items():
        if len(summaries) > 1:
            parts.append(f"<h2>{as_text(name)}</h2>")
        parts += _parts(summary)
    return page(f"Run of genoformer: {', '.join(summaries)}", parts)


def _parts(summary: Mapping[str, Any]) -> list[str]:
    counts, identity, run = summary["counts"], summary["identity"], summary.get("run", {})
    parts = [f"<p>genoformer {as_text(identity.get('version'))}, model {as_text(run.get('model'))}</p>"]
    if "outcomes" in counts:
        parts += _read_parts(counts)
    else:
        parts.append(table("Counts", ("", ""), [(name, _shown(value)) for name, value in counts.items()]))
    seconds = run.get("seconds")
    if isinstance(seconds, Mapping):
        parts += _time_parts(run)
    elif seconds is not None:
        parts.append(f"<p>Time: {seconds:,.1f} s.</p>")
    parts.append(
        table("What determines the result", ("", ""), [(key, _shown(value)) for key, value in identity.items()])
    )
    return parts


def _read_parts(counts: Mapping[str, Any]) -> list[str]:
    molecules = counts["molecules"]
    caption = f"Molecules: {molecules:,}; reads written: {counts['written']:,}, {counts['bases_written']:,} bases"
    yields = [
        (f"at least Q{name[1:]}", reads, counts["yield_bases"][name], _percent(reads, molecules))
        for name, reads in counts["yield_reads"].items()
    ]
    subreads = f"{counts['subreads']:,} used, {counts['unusable_subreads']:,} not usable"
    return [
        _bars(caption, {name.replace("_", " "): count for name, count in counts["outcomes"].items()}, molecules),
        table("Corrected reads by predicted quality", ("", "reads", "bases", "of the molecules"), yields),
        _bars(f"Windows: {counts['windows']:,}", {_WINDOWS[key]: counts[key] for key in _WINDOWS}, counts["windows"]),
        f"<p>Subreads: {as_text(subreads)}.</p>",
    ]


def _time_parts(run: Mapping[str, Any]) -> list[str]:
    seconds = run["seconds"]
    streaming = seconds.get("streaming", 0.0)
    shards = f", {run['num_shards']:,} shards, the longest {run['longest']:,.1f} s" if "num_shards" in run else ""
    caption = f"Time: {seconds['total']:,.1f} s{shards}; held up by: {run.get('bottleneck', '-')}"
    stages = {_WORK[key]: seconds[key] for key in _WORK if key in seconds}
    waits = {_WAITS[key]: seconds[key] for key in _WAITS if key in seconds}
    parts = [_bars(caption, stages, max([streaming, *stages.values()]), " s")]
    if waits:
        parts.append(_bars("The main process waited", waits, streaming, " s"))
    if run.get("devices"):
        rows = [(device["device"], device["batches"], f"{device['busy_seconds']:,.1f}",
                 _percent(device["busy_seconds"], streaming)) for device in run["devices"]]  # fmt: skip
        parts.append(table("Devices", ("", "batches", "seconds busy", "of the time"), rows))
    if "queues" in run:
        queues = [(name.replace("_", " "), depth["mean"], depth["most"]) for name, depth in run["queues"].items()]
        parts.append(table("Queues", ("", "mean", "most"), queues))
    return parts


def _bars(caption: str, values: Mapping[str, float], whole: float, unit: str = "") -> str:
    """A table with a bar for each value, as long as its part of the whole."""
    rows = "\n".join(
        f"<tr><td>{as_text(name)}</td><td>{as_text(round(value, 1))}{unit}</td>"
        f"<td>{as_text(_percent(value, whole))}</td>"
        f'<td class="bar"><meter max="{max(whole, 1e-9):g}" value="{value:g}"></meter></td></tr>'
        for name, value in values.items()
    )
    return f"<table><caption>{as_text(caption)}</caption>\n{rows}\n</table>"


def _percent(part: float, whole: float) -> str | None:
    return f"{100 * part / whole:.1f} %" if whole else None


def _shown(value: Any) -> str:
    return (
        f"{value:,}"
        if isinstance(value, int) and not isinstance(value, bool)
        else (value if isinstance(value, str) else json.dumps(value))
    )


def multiqc_files(summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Custom content for MultiQC by file name; runs without reads have none.

    Source: MultiQC 1.35, "Custom content": files that end in `_mqc.json`.
    """
    files = {}
    for name, summary in summaries.items():
        counts = summary["counts"]
        if "outcomes" not in counts:
            continue
        files[f"{name}.outcomes_mqc.json"] = _bargraph(
            name, "outcomes", "What became of the molecules", counts["outcomes"]
        )
        windows = {_WINDOWS[key]: counts[key] for key in _WINDOWS}
        files[f"{name}.windows_mqc.json"] = _bargraph(name, "windows", "Windows of the CCS reads", windows)
        files[f"{name}.stats_mqc.json"] = {
            "id": "genoformer_stats",
            "plot_type": "generalstats",
            "pconfig": [
                {"q20_reads": {"title": "Q20 reads", "format": "{:,.0f}", "description": "reads of predicted Q20"}},
                {
                    "q30_bases": {
                        "title": "Q30 bases",
                        "format": "{:,.0f}",
                        "description": "bases in reads of predicted Q30",
                    }
                },
                {
                    "yield": {
                        "title": "% written",
                        "max": 100,
                        "min": 0,
                        "suffix": "%",
                        "description": "of the molecules",
                    }
                },
            ],
            "data": {
                name: {
                    "q20_reads": counts["yield_reads"]["q20"],
                    "q30_bases": counts["yield_bases"]["q30"],
                    "yield": round(100 * counts["written"] / max(1, counts["molecules"]), 3),
                }
            },
        }
    return files


def _bargraph(name: str, what: str, title: str, values: Mapping[str, int]) -> dict[str, Any]:
    return {
        "id": f"genoformer_{what}",
        "section_name": f"genoformer: {what}",
        "description": title,
        "plot_type": "bargraph",
        "pconfig": {"id": f"genoformer_{what}_plot", "title": f"genoformer: {title}", "ylab": "count"},
        "data": {name: dict(values)},
    }
