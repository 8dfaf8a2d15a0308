"""`genoformer consensus correct` and `run`: CCS reads corrected with their subreads, from BAM files to FASTQ or BAM.

`correct` takes CCS reads and subreads aligned to them. `run` takes raw subreads alone: the processes that prepare
windows draft the CCS reads and align the subreads to them first, with no file in between.

Reading, pileups, model and writing overlap; memory is bounded by the molecules in flight. Output order is the order of
the subreads file.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genoformer import __version__
from genoformer.genome.quality import Calibration
from genoformer.io.bam import BamReader
from genoformer.io.reads import header_with_program, output_format, partial_path, read_json
from genoformer.io.shards import shard_range
from genoformer.workflows.calibration import AppliedCalibration, choose_calibration, is_calibration_file
from genoformer.workflows.correct_options import CorrectOptions
from genoformer.workflows.device_pool import Arrays, DevicePool
from genoformer.workflows.draft import drafting_versions
from genoformer.workflows.molecule_source import MoleculeSource, open_molecules
from genoformer.workflows.output import CorrectedOutput, confirm_whole, file_identity, summary_path
from genoformer.workflows.pipeline import Flow, StageSeconds, WindowBatches, prepared_molecules
from genoformer.workflows.predictor import Predictor, load_predictor
from genoformer.workflows.prepare import Calls, PreparedMolecule, PrepareSettings
from genoformer.workflows.run_facts import run_facts
from genoformer.workflows.stitch import Outcome, StitchSettings, ccs_read, corrected_read, stitch

logger = logging.getLogger(__name__)

_MAX_UNWRITTEN = 64  # molecules between the model and the writer
_WAITING_PER_WORKER = 2  # molecules that a pileup process has, so that none waits for the next


def correct(options: CorrectOptions, on_progress: Callable[[int, float], None] | None = None) -> dict[str, Any]:
    """Corrects all CCS reads of a file, or of one shard of it; returns the summary.

    Without a file of CCS reads the subreads are raw, and drafts of them are corrected.

    Args:
        on_progress: called with the number of molecules done and the part of the input read.
    Raises:
        UsageError: options that cannot work.
        DataError: input that is damaged or does not fit together, output that cannot be written.
    """
    began = time.perf_counter()
    options.check()
    drafted_by = "" if options.ccs else f", drafts by {drafting_versions()}"
    with open_molecules(options.subreads, options.ccs, options.draft) as source:
        predictor = load_predictor(options)
        calibration = choose_calibration(
            options.calibration,
            options.ccs_calibration,
            predictor.config.calibration,
            predictor.digest,
            predictor.calibration_tables,
        )
        settings = StitchSettings(
            options.min_quality,
            options.min_length,
            options.max_base_quality,
            Calibration.parse(calibration.line),
            Calibration.parse(calibration.ccs_line),
            calibration.tables,
        )
        identity = run_identity(options, predictor, calibration)
        if options.resume and (done := _finished_summary(options, identity)) is not None:
            return done
        made_by = f"model {predictor.digest}{drafted_by}"
        header = header_with_program(source.header_text, __version__, _command(options, predictor), made_by)
        flow = Flow()
        with predictor.open_devices() or contextlib.nullcontext() as pool:
            output = CorrectedOutput(options.output, header, identity, options.report, options.resume)
            streaming_began = time.perf_counter()
            try:
                writer = _MoleculeWriter(
                    options.on_fail, settings, output, flow.seconds, _progress(on_progress, source.subreads)
                )
                _run(options, predictor, pool, source, writer, flow)
            except BaseException:
                output.abandon()
                raise
            flow.seconds.streaming = time.perf_counter() - streaming_began
    if not output.counts.zmws:
        logger.warning("%s: has no ZMWs%s, so the output has no reads", options.subreads, _of_shard(options))
    total = time.perf_counter() - began
    return output.finish({"run": run_facts(predictor, pool, flow, total)})


def _of_shard(options: CorrectOptions) -> str:
    return f" in shard {options.shard[0]}/{options.shard[1]}" if options.shard else ""


def _progress(
    on_progress: Callable[[int, float], None] | None, subreads: BamReader
) -> Callable[[int, int | None], None]:
    def report(num_molecules: int, next_offset: int | None) -> None:
        if on_progress is not None and next_offset is not None:
            on_progress(num_molecules, (next_offset >> 16) / subreads.file.size_bytes)

    return report


def _unwritten_items(options: CorrectOptions, source: MoleculeSource, output: CorrectedOutput) -> Iterator[Any]:
    """What this run has still to prepare."""
    start, end = shard_range(source.subreads, options.shard) if options.shard else (None, None)
    if output.next_offset is not None:
        start = output.next_offset
    items = source.items(start, end)
    return items if options.limit is None else _first_zmws(items, options.limit - output.counts.zmws)


def _first_zmws(items: Iterator[Any], num_zmws: int) -> Iterator[Any]:
    while num_zmws > 0:
        item = next(items, None)
        if item is None:
            return
        yield item
        num_zmws -= item.next_offset is not None


@dataclass
class _MoleculeWriter:
    """Stitches molecules and writes what became of them, in order."""

    on_fail: str
    settings: StitchSettings
    output: CorrectedOutput
    seconds: StageSeconds
    on_progress: Callable[[int, int | None], None]
    _is_broken: bool = False

    def write(self, molecule: PreparedMolecule, calls: Calls) -> None:
        """Writes one molecule; nothing after one that could not be written, or the output would have a hole."""
        if self._is_broken:
            return
        self._is_broken = True
        began = time.perf_counter()
        stitched = stitch(molecule, calls, self.settings)
        read = None
        if stitched.outcome is Outcome.SUCCESS:
            read = corrected_read(molecule, stitched)
        elif self.on_fail == "ccs" and stitched.outcome is not Outcome.NO_DRAFT:
            read = ccs_read(molecule, self.settings)
        self.output.add(molecule, stitched, read)
        self._is_broken = False
        self.seconds.write += time.perf_counter() - began
        self.on_progress(self.output.counts.molecules, molecule.next_offset)


def _run(
    options: CorrectOptions,
    predictor: Predictor,
    pool: DevicePool[np.ndarray, Arrays] | None,
    source: MoleculeSource,
    writer: _MoleculeWriter,
    flow: Flow,
) -> None:
    """Takes the molecules through preparation, model and writer, which work at the same time."""
    config = predictor.config
    shape = (predictor.batch_size, config.num_rows, config.window_length)
    submit, num_ahead = (pool.submit, pool.num_lanes) if pool else (_no_model, 0)
    batches = WindowBatches(submit, shape, num_ahead, flow)
    prepare = functools.partial(source.prepare, settings=_prepare_settings(options, predictor))
    items = _unwritten_items(options, source, writer.output)
    num_waiting = max(options.batch_zmws, _WAITING_PER_WORKER * predictor.num_workers)
    prepared = prepared_molecules(items, prepare, predictor.num_workers, num_waiting, flow)
    with ThreadPoolExecutor(1, thread_name_prefix="writer") as thread:
        unwritten: deque[Future[None]] = deque()
        try:
            for molecule, calls in batches.called(prepared):
                unwritten.append(thread.submit(writer.write, molecule, calls))
                _wait_for_writer(unwritten, flow)
        finally:
            prepared.close()
            wait(unwritten)  # what the model has called is written, also on the way out
        for future in unwritten:
            future.result()


def _wait_for_writer(unwritten: deque[Future[None]], flow: Flow) -> None:
    """Lets go of what is written, and waits where too much is not."""
    while unwritten and unwritten[0].done():
        unwritten.popleft().result()
    flow.queues.unwritten_molecules.see(len(unwritten))
    if len(unwritten) >= _MAX_UNWRITTEN:
        began = time.perf_counter()
        unwritten.popleft().result()
        flow.seconds.waiting_for_writer += time.perf_counter() - began


def _prepare_settings(options: CorrectOptions, predictor: Predictor) -> PrepareSettings:
    return PrepareSettings(
        Path(options.subreads),
        Path(options.ccs or options.subreads),
        predictor.config,
        use_vote=predictor.model is None,
        skip_above=options.skip_windows_above,
        max_insertion=options.ins_trim,
        smart_windows=options.smart_windows,
    )


def _no_model(rows: np.ndarray) -> Future[Arrays]:
    raise AssertionError(f"a vote is done with the pileup; {len(rows)} windows came to the model")


def run_identity(options: CorrectOptions, predictor: Predictor, calibration: AppliedCalibration) -> dict[str, Any]:
    """Everything that determines the records of a run; two runs with the same identity write the same records."""
    return {
        "version": __version__,
        "model": predictor.digest,
        "subreads": file_identity(options.subreads),
        "ccs": file_identity(options.ccs) if options.ccs else _drafts(options),
        "format": output_format(options.output),
        "device": predictor.device_kind,
        "batch_size": None if predictor.on_cpu else predictor.batch_size,  # on a CPU it changes no bit
        "precision": options.precision,
        "skip_windows_above": options.skip_windows_above,
        "min_quality": options.min_quality,
        "min_length": options.min_length,
        "max_base_quality": options.max_base_quality,
        **calibration.identity,
        "ins_trim": options.ins_trim,
        "smart_windows": options.smart_windows,
        "on_fail": options.on_fail,
        "limit": options.limit,
        "report": options.report is not None,
        "shard": list(options.shard or (1, 1)),
    }


def _drafts(options: CorrectOptions) -> str:
    return " ".join(["drafts", *options.draft.flags(), "by", drafting_versions()])


def _finished_summary(options: CorrectOptions, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The summary of a whole output, if it is there.

    Raises:
        OutputError: it is that of another run.
    """
    output, path = Path(options.output), summary_path(options.output)
    if not output.exists() or not path.exists() or partial_path(output).exists():  # a partial file is of a later run
        return None
    summary = read_json(path)
    if summary.get("output_bytes") != output.stat().st_size:
        return None
    return confirm_whole(output, summary, identity)


def _command(options: CorrectOptions, predictor: Predictor) -> str:
    """The command line for @PG: without folders, and without flags that cannot change a record."""
    if options.ccs:
        words = ["genoformer consensus correct", Path(options.subreads).name, Path(options.ccs).name]
    else:
        words = ["genoformer consensus run", Path(options.subreads).name, *options.draft.flags()]
    words += ["--model", predictor.name]
    defaults = CorrectOptions("", "", "")
    for flag in ("batch_size", "device", "precision", "skip_windows_above", "min_quality", "min_length",
                 "max_base_quality", "calibration", "ccs_calibration", "ins_trim", "limit", "on_fail"):  # fmt: skip
        value = getattr(options, flag)
        if value != getattr(defaults, flag) and not (flag == "batch_size" and predictor.on_cpu):
            is_file = flag == "calibration" and is_calibration_file(value)
            value = predictor.device_kind if flag == "device" else Path(value).name if is_file else value
            words += [f"--{flag.replace('_', '-')}", str(value)]
    return " ".join(words + (["--smart-windows"] if options.smart_windows else []))
