"""How variants are handed out to devices, worked by hand; `test_score` has what becomes of them."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from genoformer.genome.variant import Variant
from genoformer.workflows.score_options import ScoreSettings
from genoformer.workflows.score_units import MAX_SHARING, UnitScorer
from genoformer.workflows.variant_scorer import Scoring
from genoformer.workflows.variant_source import PlacedVariant
from tests.variant_cases import SMALL


def at(*starts):
    variants = [Variant("chr1", start, "A", "C") for start in starts]
    return [PlacedVariant(number, variant, None, variant) for number, variant in enumerate(variants, 1)]


GPUS = ("cuda:0", "cuda:1")  # on a CPU a batch is one variant


def units_of(variants, devices=("cpu", "cpu"), **settings):
    model = SimpleNamespace(devices=devices, device_kind=devices[0].split(":")[0])
    scoring = Scoring(SMALL, None, ScoreSettings(**settings))
    return [[placed.record for placed in unit] for unit in UnitScorer(model, Path(), scoring).units(variants)]


@pytest.mark.parametrize(
    ("starts", "settings", "expected"),
    [
        ((), {}, []),
        ((10, 20, 30), {}, [[1], [2], [3]]),
        ((10, 10, 10, 20, 10), {}, [[1, 2, 3], [4], [5]]),
        ((10, 90, 120, 150, 10), {"grid_bp": 100}, [[1, 2], [3, 4], [5]]),
        ((10, 20, 20, 20, 30), {"batch_size": 3}, [[1], [2, 3, 4], [5]]),
        ((10, 10, 20, 20), {"keep_predictions": True}, [[1], [2], [3], [4]]),
    ],
)
def test_units(starts, settings, expected):
    assert units_of(at(*starts), **settings) == expected


@pytest.mark.parametrize(
    ("starts", "batch_size", "expected"),
    [((10, 10, 10, 20, 20, 30), 2, [[1, 2, 3], [4, 5], [6]]), ((10, 20, 20, 20, 30), 3, [[1, 2, 3, 4], [5]])],
)
def test_units_of_whole_batches(starts, batch_size, expected):
    assert units_of(at(*starts), GPUS, batch_size=batch_size) == expected


def test_one_device_keeps_what_variants_share_from_unit_to_unit():
    assert units_of(at(10, 10, 10), devices=("cpu",)) == [[1], [2], [3]]


def test_a_unit_has_a_bound():
    sizes = [len(unit) for unit in units_of(at(*[10] * (2 * MAX_SHARING + 1)))]
    assert sizes == [MAX_SHARING, MAX_SHARING, 1]
    assert [len(unit) for unit in units_of(at(*[10] * 150), GPUS, batch_size=100)] == [100, 50]


def test_a_gpu_has_its_own_batch():
    assert [len(unit) for unit in units_of(at(*range(20)), GPUS)] == [8, 8, 4]
