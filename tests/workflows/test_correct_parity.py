"""Real reads corrected with converted checkpoints equal what the original wrote."""

import re

import numpy as np
import pytest
import torch

import genoformer.models.consensus as consensus_module
from genoformer.models.checkpoint import load_checkpoint, save_checkpoint
from genoformer.workflows import correct as correct_module
from tests.correct_inputs import Inputs, convert_golden, fastq_records, run_correct

NEAR_TIE = 1e-5
CALLED = ["", "A", "T", "C", "G"]  # what a pileup code emits


@pytest.fixture(scope="module")
def human(shared_data):
    folder = shared_data / "consensus" / "human_1m"
    return Inputs(str(folder / "subreads_to_ccs.bam"), str(folder / "ccs.bam"))


@pytest.fixture(scope="module")
def golden_models(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    golden = shared_data / "consensus" / "golden"
    return {name: convert_golden(golden / name, folder) for name in ("ckpt_preln_2L_full", "ckpt_rezero_6L")}


def by_name(path):
    return {name: (sequence, quality) for name, sequence, quality in fastq_records(path)}


class Spy:
    """Notes what the model and the stitching see: both best symbols of each column, and each molecule's windows."""

    def __init__(self, monkeypatch):
        self.best, self.second, self.gap, self.molecules = [], [], [], []
        call_bases, stitch = consensus_module.call_bases, correct_module.stitch

        def spy_on_calls(logits):
            prob, code = torch.softmax(logits.double(), -1).topk(2, dim=-1)
            self.best.append(code[..., 0].numpy())
            self.second.append(code[..., 1].numpy())
            self.gap.append((prob[..., 0] - prob[..., 1]).numpy())
            return call_bases(logits)

        def spy_on_molecules(molecule, calls, settings):
            self.molecules.append(molecule)
            return stitch(molecule, calls, settings)

        monkeypatch.setattr(consensus_module, "call_bases", spy_on_calls)
        monkeypatch.setattr(correct_module, "stitch", spy_on_molecules)

    def allowed_sequences(self):
        """By read: a pattern of what may be called, with either symbol where the two best are nearly tied."""
        best, second, gap = (np.concatenate(parts) for parts in (self.best, self.second, self.gap))
        patterns, first = {}, 0
        for molecule in self.molecules:
            parts, row = [], first
            ccs = molecule.ccs.sequence.decode()
            for is_called, (start, end) in zip(molecule.is_called, molecule.ccs_range, strict=True):
                if not is_called:
                    parts.append(ccs[start:end])
                    continue
                for one, other, distance in zip(best[row], second[row], gap[row], strict=True):
                    tied = distance < NEAR_TIE
                    parts.append(f"(?:{CALLED[one]}|{CALLED[other]})" if tied else CALLED[one])
                row += 1
            patterns[molecule.ccs.name], first = "".join(parts), row
        return patterns


def assert_equals_original(path, golden, patterns):
    found, expected = by_name(path), by_name(golden)
    assert list(found) == list(expected)[: len(found)]
    num_bases = num_different = 0
    for name, (sequence, quality) in found.items():
        golden_sequence, golden_quality = expected[name]
        assert re.fullmatch(patterns[name], golden_sequence), f"{name}: sequences differ beyond near-ties"
        if sequence == golden_sequence:
            difference = np.abs(np.frombuffer(quality.encode(), "i1") - np.frombuffer(golden_quality.encode(), "i1"))
            assert difference.max() <= 1
            num_bases += len(sequence)
            num_different += int((difference > 0).sum())
    assert num_bases > 0.5 * sum(len(sequence) for sequence, _ in expected.values()) * len(found) / len(expected)
    assert num_different <= 0.001 * num_bases


@pytest.mark.parametrize(
    ("name", "skip"),
    [
        ("ckpt_preln_2L_full", 0),
        ("ckpt_preln_2L_full", 45),
        ("ckpt_rezero_6L", 45),
        pytest.param("ckpt_rezero_6L", 0, marks=pytest.mark.slow),
    ],
)
def test_reads_equal_the_original(shared_data, human, golden_models, tmp_path, monkeypatch, name, skip):
    spy = Spy(monkeypatch)
    summary = run_correct(human, tmp_path / "out.fastq", model=golden_models[name], skip_windows_above=skip)
    golden = shared_data / "consensus" / "golden" / name / f"run.skip{skip}.fastq"
    assert_equals_original(tmp_path / "out.fastq", golden, spy.allowed_sequences())
    assert summary["counts"]["windows"] == 1593
    assert summary["counts"]["windows_called"] == (1593 if skip == 0 else 1593 - 538)
    assert summary["counts"]["written"] == 10


def test_a_disturbed_weight_does_not_equal_the_original(shared_data, human, golden_models, tmp_path, monkeypatch):
    checkpoint = load_checkpoint(golden_models["ckpt_preln_2L_full"])
    state = dict(checkpoint.state_dict)
    state["head.bias"] = state["head.bias"] + torch.tensor([0, 0.03, 0, 0, 0])
    disturbed = tmp_path / "disturbed.safetensors"
    save_checkpoint(disturbed, state, checkpoint.config)
    spy = Spy(monkeypatch)
    run_correct(human, tmp_path / "out.fastq", model=str(disturbed), limit=1)
    golden = shared_data / "consensus" / "golden" / "ckpt_preln_2L_full" / "run.skip45.fastq"
    with pytest.raises(AssertionError):
        assert_equals_original(tmp_path / "out.fastq", golden, spy.allowed_sequences())
