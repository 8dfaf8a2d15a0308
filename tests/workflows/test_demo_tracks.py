import json

import numpy as np
import pytest

from genoformer.workflows.demo_tracks import main
from tests.bigwig_builder import write_bigwig


@pytest.fixture
def folder(tmp_path):
    """Two tracks of 80 bases in bins of 8: one predicted in half its height, one turned round."""
    steps = np.arange(10.0) + 1
    write_bigwig(tmp_path / "x.bw", {"chr1": np.repeat(steps, 8)})
    write_bigwig(tmp_path / "y.bw", {"chr1": np.repeat(steps, 8)})
    (tmp_path / "targets.txt").write_text(
        "\tidentifier\tfile\tsum_stat\tdescription\n0\tx\tx.bw\tmean\tDNASE:x\n1\ty\ty.bw\tsum\tCAGE:y\n"
    )
    predicted = tmp_path / "predicted"
    predicted.mkdir()
    write_bigwig(predicted / "0_x.bw", {"chr1": np.repeat(steps / 2, 8)})
    write_bigwig(predicted / "1_y.bw", {"chr1": np.repeat(steps[::-1], 8)})
    (predicted / "predictions.summary.json").write_text(json.dumps({"files": ["0_x.bw", "1_y.bw"], "bin_bp": 8}))
    return tmp_path


def test_correlations_and_a_picture(folder, capsys):
    main(str(folder / "predicted"), str(folder / "targets.txt"), "chr1:1-80", str(folder / "tracks.png"))
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.startswith("10 bins of chr1:1-80 ")
    assert [line.split() for line in lines] == [["DNASE:x", "1.000"], ["CAGE:y", "-1.000"]]
    assert (folder / "tracks.png").read_bytes().startswith(b"\x89PNG")
