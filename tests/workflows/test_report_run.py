import csv
import html.parser
import json
import shutil
import subprocess

import pytest

from genoformer.errors import OutputError, UsageError
from genoformer.workflows.join import join_shards
from genoformer.workflows.output import summary_path
from genoformer.workflows.report_run import multiqc_files, run_page, write_run_report
from tests.correct_inputs import run_correct, save_tiny_model, simulate_molecules, write_inputs


class Cells(html.parser.HTMLParser):
    """The rows of all tables as lists of text, and whatever the page would load from elsewhere."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.loaded, self.captions = [], [], []
        self._open = None
        self.feed(page.decode())

    def handle_starttag(self, tag, attributes):
        self._open = tag
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.loaded += [value for key, value in attributes if key in ("src", "href")]

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open in ("td", "th"):
            self.rows[-1][-1] += data
        if self._open == "caption":
            self.captions.append(data)


SUMMARY = {
    "identity": {"version": "1.2.3", "model": "sha256:abc", "shard": [1, 1], "min_quality": 20},
    "output_bytes": 17,
    "counts": {
        "zmws": 10, "molecules": 10, "written": 7, "written_ccs": 0, "bases_written": 70_000, "subreads": 93,
        "unusable_subreads": 2, "trimmed_bases": 5, "windows": 1000, "windows_called": 600, "windows_skipped": 390,
        "windows_overflowing": 10, "windows_empty": 0,
        "outcomes": {"success": 7, "no_subreads": 1, "failed_quality_filter": 2},
        "yield_reads": {"q20": 7, "q30": 4, "q40": 0}, "yield_bases": {"q20": 70_000, "q30": 41_000, "q40": 0},
    },
    "run": {
        "model": "m<1>.safetensors",
        "devices": [{"device": "cuda:0", "batches": 3, "busy_seconds": 6.0, "busy": 0.75}],
        "seconds": {"read": 1.0, "pileup": 12.0, "model": 6.0, "write": 0.5, "waiting_for_windows": 2.0,
                    "waiting_for_model": 4.0, "waiting_for_writer": 0.0, "streaming": 8.0, "total": 10.0},
        "queues": {"prepared_molecules": {"mean": 1.5, "most": 4}},
        "bottleneck": "model",
    },
}  # fmt: skip


def test_the_page_has_every_figure_of_the_summary():
    found = Cells(run_page({"out.bam": SUMMARY}))
    for row in (
        ["success", "7", "70.0 %", ""],
        ["failed quality filter", "2", "20.0 %", ""],
        ["at least Q30", "4", "41,000", "40.0 %"],
        ["kept as in the CCS read: good enough", "390", "39.0 %", ""],
        ["drafts and pileups", "12.0 s", "100.0 %", ""],
        ["for the model", "4.0 s", "50.0 %", ""],
        ["cuda:0", "3", "6.0", "75.0 %"],
        ["prepared molecules", "1.5", "4"],
        ["model", "sha256:abc"],
    ):
        assert row in found.rows
    assert "Molecules: 10; reads written: 7, 70,000 bases" in found.captions
    assert "Time: 10.0 s; held up by: model" in found.captions


def test_the_page_needs_no_other_file_and_shows_text_as_it_is():
    page = run_page({"out.bam": SUMMARY})
    assert Cells(page).loaded == []
    assert b"http" not in page
    assert b"m&lt;1&gt;.safetensors" in page
    assert run_page({"out.bam": SUMMARY}) == page


def test_a_run_of_another_command_has_its_counts():
    summary = {"identity": {"version": "1"}, "counts": {"regions": 12, "tracks": 5313}}
    assert ["tracks", "5,313"] in Cells(run_page({"out.h5": summary})).rows
    assert multiqc_files({"out.h5": summary}) == {}


def test_a_run_on_several_devices_shows_what_each_did():
    devices = [{"device": "cpu", "batches": batches, "busy_seconds": 2.0, "busy": 0.5} for batches in (7, 6)]
    seconds = {"read": 0.5, "model": 4.0, "write": 1.0, "waiting_for_model": 2.5, "streaming": 4.0, "total": 9.0}
    run = {"model": "m", "windows": 13, "devices": devices, "seconds": seconds, "bottleneck": "model"}
    found = Cells(run_page({"out.h5": {"identity": {"version": "1"}, "counts": {"regions": 8}, "run": run}}))
    for row in (["cpu", "7", "2.0", "50.0 %"], ["cpu", "6", "2.0", "50.0 %"], ["for the model", "2.5 s", "62.5 %", ""]):
        assert row in found.rows
    assert "Time: 9.0 s; held up by: model" in found.captions


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    inputs, model = write_inputs(folder / "in", simulate_molecules(12)), save_tiny_model(folder)
    paths = [str(folder / f"{index}.bam") for index in (1, 2)]
    for index, path in enumerate(paths, start=1):
        run_correct(inputs, path, model=model, device="cpu", shard=(index, 2))
    join_shards(paths, str(folder / "joined.bam"))
    return [*paths, str(folder / "joined.bam")]


def test_shards_and_what_they_were_joined_to(shards, tmp_path):
    write_run_report(shards, str(tmp_path / "report.html"), str(tmp_path / "mqc"))
    found = Cells((tmp_path / "report.html").read_bytes())
    num_molecules = [int(text.split()[1].rstrip(";")) for text in found.captions if text.startswith("Molecules")]
    assert num_molecules == [*num_molecules[:2], 12]
    assert sum(num_molecules[:2]) == 12
    assert any("2 shards" in text for text in found.captions)
    outcomes = json.loads((tmp_path / "mqc" / "joined.bam.outcomes_mqc.json").read_text())
    assert outcomes["data"]["joined.bam"]["success"] == 12
    assert len(list((tmp_path / "mqc").iterdir())) == 9


def collected(folder, name):
    """A table of MultiQC by sample, as it wrote it."""
    with (folder / "multiqc_data" / name).open(newline="") as file:
        return {row.pop("Sample"): row for row in csv.DictReader(file, delimiter="\t")}


def test_multiqc_shows_the_figures_of_every_shard(shards, tmp_path):
    program = shutil.which("multiqc")
    if program is None:
        pytest.skip("multiqc is not installed")
    write_run_report(shards, None, str(tmp_path / "in"))
    command = [program, str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--quiet"]
    subprocess.run(command, check=True, capture_output=True)
    stats = collected(tmp_path / "out", "multiqc_general_stats.txt")
    outcomes = collected(tmp_path / "out", "multiqc_genoformer_outcomes_plot.txt")
    windows = collected(tmp_path / "out", "multiqc_genoformer_windows_plot.txt")
    for shard, sample in zip(shards, ("1", "2", "joined"), strict=True):
        counts = json.loads(summary_path(shard).read_text())["counts"]
        found = [float(value) for value in stats[sample].values()]
        written = 100 * counts["written"] / max(1, counts["molecules"])
        assert found == [counts["yield_reads"]["q20"], counts["yield_bases"]["q30"], written]
        assert {name: float(count) for name, count in outcomes[sample].items()} == counts["outcomes"]
        assert float(windows[sample]["corrected"]) == counts["windows_called"]
    assert float(outcomes["joined"]["success"]) == 12


def test_a_folder_of_tracks_has_its_summary_inside(tmp_path):
    summary = {"identity": {"version": "1"}, "counts": {"tracks": 2}}
    (tmp_path / "tracks").mkdir()
    summary_path(tmp_path / "tracks" / "predictions").write_text(json.dumps(summary))
    write_run_report([str(tmp_path / "tracks")], str(tmp_path / "r.html"), None)
    assert ["tracks", "2"] in Cells((tmp_path / "r.html").read_bytes()).rows


def test_a_folder_of_contributions_and_its_time(tmp_path):
    summary = {"identity": {"version": "1"}, "counts": {"regions": 3}, "run": {"model": "m", "seconds": 1234.56}}
    (tmp_path / "out").mkdir()
    summary_path(tmp_path / "out" / "contributions").write_text(json.dumps(summary))
    write_run_report([str(tmp_path / "out")], str(tmp_path / "r.html"), None)
    assert ["regions", "3"] in Cells((tmp_path / "r.html").read_bytes()).rows
    assert b"<p>Time: 1,234.6 s.</p>" in (tmp_path / "r.html").read_bytes()


def test_an_output_without_a_summary(tmp_path):
    with pytest.raises(OutputError, match=r"out.bam.summary.json: is not there; name what a run wrote"):
        write_run_report([str(tmp_path / "out.bam")], str(tmp_path / "r.html"), None)
    summary_path(tmp_path / "out.bam").write_text("{}")
    with pytest.raises(OutputError, match=r"out.bam.summary.json: is no summary of a run"):
        write_run_report([str(tmp_path / "out.bam.summary.json")], str(tmp_path / "r.html"), None)


def test_a_summary_of_which_a_part_is_missing(tmp_path):
    counts = {key: value for key, value in SUMMARY["counts"].items() if key != "yield_bases"}
    summary_path(tmp_path / "out.bam").write_text(json.dumps({**SUMMARY, "counts": counts}))
    with pytest.raises(OutputError, match=r"a summary of out.bam lacks 'yield_bases'; run it again"):
        write_run_report([str(tmp_path / "out.bam")], str(tmp_path / "r.html"), None)
    assert not (tmp_path / "r.html").exists()


def test_two_runs_of_one_name_are_not_taken_for_one(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        summary_path(tmp_path / folder / "out.bam").write_text(json.dumps(SUMMARY))
    with pytest.raises(UsageError, match=r"b/out.bam: the name 'out.bam' is there twice"):
        write_run_report([str(tmp_path / folder / "out.bam") for folder in ("a", "b")], str(tmp_path / "r.html"), None)


def test_a_run_without_reads_has_nothing_for_multiqc_and_says_so(tmp_path, caplog):
    summary = {"identity": {"version": "1"}, "counts": {"tracks": 2}}
    summary_path(tmp_path / "out.h5").write_text(json.dumps(summary))
    write_run_report([str(tmp_path / "out.h5")], None, str(tmp_path / "mqc"))
    assert caplog.messages == ["out.h5: nothing for MultiQC, which takes runs that write reads"]
    assert not (tmp_path / "mqc").exists()
