"""The expression model against the plain model of `expression_reference`, and its shapes, options and refusals."""

import pytest
import torch
from torch import nn

from genoformer.config import ExpressionConfig
from genoformer.errors import UsageError
from genoformer.genome.track import numbered_tracks
from genoformer.models import expression as module
from genoformer.models.expression import ExpressionTransformer
from tests import expression_reference as reference
from tests.expression_reference import TINY, random_sequence, random_weights_


@pytest.fixture
def model():
    return random_weights_(ExpressionTransformer(TINY)).eval()


def in_float64(model):
    return {name: tensor.double() for name, tensor in model.state_dict().items()}


VARIANTS = [
    {},
    {"gamma_over": "features"},
    {"position_bins": 20},
    {"num_layers": 0},
    {"num_layers": 1, "tower_widths": (), "target_bins": 48},
    {"tower_kernel": 5, "heads": {"yeast": 1}, "target_bins": 1},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_prediction_of_the_plain_model(variant):
    config = TINY.model_copy(update=variant)
    model = random_weights_(ExpressionTransformer(config)).eval()
    sequence = random_sequence(2, 96)
    with torch.no_grad():
        found = model(sequence)
        plain = reference.predict(sequence, model.state_dict(), config)
        exact = reference.predict(sequence, in_float64(model), config)
    assert {species: tracks.shape[2] for species, tracks in found.items()} == config.heads
    for species, tracks in found.items():
        assert tracks.shape[:2] == (2, config.target_bins)
        assert tracks.dtype == torch.float32
        error, plain_error = ((t - exact[species]).abs().max() for t in (tracks, plain[species]))
        assert error <= 2 * plain_error + 4 * torch.finfo(torch.float32).eps * exact[species].max()


@pytest.mark.gpu
@pytest.mark.parametrize("variant", VARIANTS)
def test_prediction_on_a_gpu(variant):
    config = TINY.model_copy(update=variant)
    model = random_weights_(ExpressionTransformer(config)).eval()
    sequence = random_sequence(2, 96)
    exact = reference.predict(sequence, in_float64(model), config)
    model, sequence = model.cuda(), sequence.cuda()
    with torch.no_grad():
        plain = reference.predict(sequence, model.state_dict(), config)
        found = model(sequence)
        with torch.autocast("cuda", torch.bfloat16):
            half = model(sequence)
    for species, tracks in found.items():
        assert tracks.is_cuda
        error, plain_error = ((t.cpu() - exact[species]).abs().max() for t in (tracks, plain[species]))
        assert error <= 2 * plain_error + 4 * torch.finfo(torch.float32).eps * exact[species].max()
        assert half[species].dtype == torch.float32
        assert (half[species].cpu() - exact[species]).abs().max() < 0.05 * exact[species].max()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_gradients_in_training_mode(model, device):
    model.to(device).train()
    sequence = random_sequence(3, 96).to(device)
    loss = sum(tracks.square().sum() for tracks in model(sequence).values())
    names, weights = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, weights)

    def gradients(dtype):
        leaves = {name: weight.detach().to(dtype).requires_grad_() for name, weight in model.named_parameters()}
        outputs = reference.predict(sequence, leaves, TINY, training=True)
        return torch.autograd.grad(sum(tracks.square().sum() for tracks in outputs.values()), list(leaves.values()))

    plain, exact = gradients(torch.float32), gradients(torch.float64)
    for name, mine, theirs, truth in zip(names, found, plain, exact, strict=True):
        error, plain_error = ((t.double() - truth).norm() for t in (mine, theirs))
        assert error <= 2 * plain_error + 1e-5 * max(truth.norm(), 1.0), name


def test_as_many_bins_as_are_asked_for(model):
    sequence = random_sequence(2, 96)
    with torch.no_grad():
        whole = model(sequence, ["human"], 96 // TINY.bin_bp)["human"]
        for num_bins in (TINY.target_bins, 1):
            start = (whole.shape[1] - num_bins) // 2
            found = model(sequence, ["human"], num_bins)["human"]
            torch.testing.assert_close(found, whole[:, start : start + num_bins])
    assert not torch.allclose(whole[:, :1], whole[:, 1:2])
    with pytest.raises(UsageError, match=r"the sequence has 3 bins; expected at least 4"):
        model(random_sequence(1, 3 * TINY.bin_bp), target_bins=4)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_checkpointed_tower_learns_the_same(precision):
    sequence = random_sequence(3, 96)
    found = []
    for checkpoint_tower in (False, True):
        model = random_weights_(ExpressionTransformer(TINY)).train()
        model.checkpoint_tower = checkpoint_tower
        saved = []  # for the backward pass, outside of what is computed again
        watching = torch.autograd.graph.saved_tensors_hooks(lambda t, saved=saved: saved.append(t) or t, lambda t: t)
        with watching, torch.autocast("cpu", torch.bfloat16, precision == torch.bfloat16):
            outputs = model(sequence)
        sum(tracks.square().sum() for tracks in outputs.values()).backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        found.append((len(saved), [*outputs.values(), *gradients, *model.buffers()]))
    (num_kept, kept), (num_saved, recomputed) = found
    assert num_saved < num_kept - 20
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(recomputed, kept, strict=True))
    assert model.stem.residual.norm.num_batches_tracked == 1


def test_every_weight_matters(model):
    sequence = random_sequence(1, 96)
    with torch.no_grad():
        before = torch.cat([tracks.flatten() for tracks in model(sequence).values()])
        for name, tensor in model.state_dict().items():
            if not tensor.is_floating_point():
                continue
            kept = tensor.clone()
            tensor += torch.rand(tensor.shape, generator=torch.Generator().manual_seed(1))
            after = torch.cat([tracks.flatten() for tracks in model(sequence).values()])
            tensor.copy_(kept)
            assert not torch.equal(before, after), name


def test_training_moves_the_averages_of_the_norms(model):
    before = {name: tensor.clone() for name, tensor in model.named_buffers()}
    model.train()(random_sequence(2, 96))
    for name, tensor in model.named_buffers():
        assert torch.equal(tensor, before[name]) == (name == "positions")


def test_species_can_be_chosen(model):
    sequence = random_sequence(2, 96)
    with torch.no_grad():
        everything = model(sequence)
        found = model(sequence, ["fly"])
    assert list(everything) == ["human", "fly"]
    assert list(found) == ["fly"]
    assert torch.equal(found["fly"], everything["fly"])
    with pytest.raises(UsageError, match="species is 'mouse'; the model has human, fly"):
        model(sequence, ["mouse"])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int64, torch.float64, torch.bfloat16])
def test_one_hot_of_any_type(model, dtype):
    sequence = random_sequence(1, 96)
    with torch.no_grad():
        assert torch.equal(model(sequence.to(dtype))["human"], model(sequence)["human"])


def test_neighbours_in_a_batch_change_nothing(model):
    sequence = random_sequence(3, 96)
    with torch.no_grad():
        together, alone = model(sequence)["human"], model(sequence[1:2])["human"]
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-5)


def test_other_lengths_of_sequence(model):
    for length in (56, 64, 200):
        sequence = random_sequence(1, length)
        with torch.no_grad():
            found = model(sequence)
            expected = reference.predict(sequence, in_float64(model), TINY)
        assert found["human"].shape == (1, 7, 3)
        torch.testing.assert_close(found["human"].double(), expected["human"], rtol=1e-4, atol=1e-4)


def test_a_base_changes_bins_near_it_only(model):
    sequence = random_sequence(1, 96)
    other = sequence.clone()
    other[0, 50] = torch.tensor([0.0, 0.0, 0.0, 1.0]) if sequence[0, 50, 3] == 0 else torch.tensor([1.0, 0, 0, 0])
    with torch.no_grad():
        changed = (model.bins(sequence) != model.bins(other)).any(-1)[0]
    assert changed[6]  # of 8 bp each
    assert not changed[[0, 1, 2, 3, 9, 10, 11]].any()


@pytest.mark.parametrize("num_stages", [1, 2, 3, 9])
def test_bins_are_the_same_in_pieces(model, monkeypatch, num_stages):
    sequence = random_sequence(2, 200)
    assert TINY.reach_bp == 8  # by hand: 1 position of 4 bp to either side, 1 of 2 bp, 2 bp
    monkeypatch.setattr(module, "PIECED_STAGES", num_stages)
    with torch.no_grad():
        whole = model.bins(sequence)
        for size in (8, 32, 56, 200, 240):
            monkeypatch.setattr(module, "PIECE_BP", size)
            torch.testing.assert_close(model.bins(sequence), whole, rtol=0, atol=1e-6)
        monkeypatch.setattr(module, "PIECE_BP", 56)
        monkeypatch.setattr(type(TINY), "reach_bp", 0)  # negative control
        assert (model.bins(sequence) - whole).abs().max() > 1e-3


def test_the_parts_make_the_whole(model):
    sequence = random_sequence(1, 96)
    with torch.no_grad():
        bins = model.bins(sequence)
        mixed = model.mix(bins)
        assert bins.shape == (1, 12, 10)
        assert mixed.shape == (1, 7, 8)
        assert torch.equal(model.predict(mixed)["human"], model(sequence)["human"])


@pytest.mark.parametrize("shape", [(1, 96), (96, 4), (1, 96, 5), (1, 92, 4), (1, 0, 4)])
def test_sequences_of_another_shape(model, shape):
    with pytest.raises(UsageError, match=r"sequence has shape \(.*; expected \(windows, bases, 4\), .* multiple of 8"):
        model(torch.zeros(shape))


def test_sequences_that_are_too_short(model):
    with pytest.raises(UsageError, match="the sequence has 6 bins; expected at least 7"):
        model(torch.zeros(1, 48, 4))


def test_dropout_in_training_only():
    for name in ("attention", "position", "relu", "residual", "pointwise"):
        config = TINY.model_copy(update={f"{name}_dropout": 0.5})
        model = random_weights_(ExpressionTransformer(config))
        for part in model.modules():
            if isinstance(part, nn.BatchNorm1d):
                part.momentum = 0.0
        sequence = random_sequence(2, 96)
        with torch.no_grad():
            assert not torch.equal(model.train()(sequence)["human"], model(sequence)["human"]), name
            assert torch.equal(model.eval()(sequence)["human"], model(sequence)["human"])


def test_bfloat16_by_autocast(model):
    sequence = random_sequence(2, 96)
    with torch.no_grad():
        exact = model(sequence)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(sequence)
    for species, tracks in found.items():
        assert tracks.dtype == torch.float32
        assert not torch.equal(tracks, exact[species])
        assert (tracks - exact[species]).abs().max() < 0.05 * exact[species].max()


def test_the_published_size():
    with torch.device("meta"):
        model = ExpressionTransformer(ExpressionConfig())
        sequence = torch.zeros(1, 196_608, 4)
    assert sum(parameter.numel() for parameter in model.parameters()) == 251_221_292
    model.positions = model.positions.to("meta")
    shapes = {species: tuple(tracks.shape) for species, tracks in model.eval()(sequence).items()}
    assert shapes == {"human": (1, 896, 5313), "mouse": (1, 896, 1643)}
    one_head = ExpressionConfig(heads={"human": 5313})
    with torch.device("meta"):
        assert sum(p.numel() for p in ExpressionTransformer(one_head).parameters()) == 246_172_353


def test_tracks_have_numbers_until_they_get_names(model):
    assert [track.identifier for track in model.tracks["human"]] == ["0", "1", "2"]
    tracks = numbered_tracks({"human": 3, "fly": 2})
    assert ExpressionTransformer(TINY, tracks).tracks is tracks


def test_a_new_model_predicts_about_the_same_everywhere():
    torch.manual_seed(0)
    model = ExpressionTransformer(TINY).eval()
    assert all(not layer.attention.output.weight.any() for layer in model.layers)
    with torch.no_grad():
        found = model(random_sequence(2, 96))["human"]
    assert 0 < found.min() < found.max() < 10
