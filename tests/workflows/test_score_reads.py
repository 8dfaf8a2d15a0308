import pytest

from genoformer.errors import AlignmentError
from genoformer.workflows.score_reads import Placement, Truth
from tests.assess_inputs import write_truth
from tests.bam_builder import ccs_read, write_bam

pytest.importorskip("mappy")
pytest.importorskip("edlib")


@pytest.mark.parametrize(
    ("names", "kind", "reason"),
    [
        (["m/1/truth", "m/2"], "read", "its names are movie/hole/..."),
        (["chr1"], "genome", "its names are not movie/hole/..."),
        (["m/1/truth", "chr1"], "genome", "its names are not movie/hole/..."),
    ],
)
def test_what_a_truth_is_taken_for(tmp_path, names, kind, reason):
    truth = Truth.open(write_truth(tmp_path / "t.fa", [(name, b"ACGT" * 50) for name in names]), None)
    assert truth.kind == kind
    assert truth.description.endswith(f"({reason})")


def test_scores_come_in_order(tmp_path):
    truth = Truth.open(write_truth(tmp_path / "t.fa", [("m/1/truth", b"GATTACA"), ("m/3/truth", b"GATTACA")]), None)
    sequences = {3: "GATTACA", 2: "GATTACA", 1: "CCCCCCC"}
    reads = [ccs_read(zmw, sequence, [10] * 7, movie="m") for zmw, sequence in sequences.items()]
    scores = list(truth.score(str(write_bam(tmp_path / "r.bam", reads)), threads=1))
    assert [(score.name, score.placement) for score in scores] == [
        ("m/3/ccs", Placement.ALIGNED), ("m/2/ccs", Placement.NO_TRUTH), ("m/1/ccs", Placement.UNALIGNED),
    ]  # fmt: skip
    assert [int(score.qualities.counts.bases.sum()) for score in scores] == [7, 0, 0]
    assert [score.qualities.predicted_phred for score in scores] == pytest.approx([10, 10, 10])


def test_read_names_of_another_form(tmp_path):
    truth = Truth.open(write_truth(tmp_path / "t.fa", [("m/1/truth", b"GATTACA")]), None)
    path = tmp_path / "r.fastq"
    path.write_text("@read_1\nA\n+\n5\n")
    with pytest.raises(AlignmentError, match="read name 'read_1'; expected PacBio's movie/hole"):
        list(truth.score(str(path), threads=1))
