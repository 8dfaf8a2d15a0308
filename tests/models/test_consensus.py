"""The consensus model against its specification in NumPy float64, published sizes, and the original's outputs."""

import logging
import math

import numpy as np
import pytest
import torch

from genoformer.config import ConsensusConfig
from genoformer.errors import ConfigError, DataError, UsageError
from genoformer.models.consensus import (
    ConsensusTransformer,
    base_probs,
    call_bases,
    check_rows,
    embed_pileup,
    prepare_for_inference,
)
from genoformer.models.convert_deepconsensus import convert_deepconsensus
from genoformer.nn import linear
from genoformer.nn.attention import attention, split_heads
from genoformer.nn.linear import onednn_refusal

SMALL = {"max_passes": 3, "window_length": 40, "condenser_width": 24, "filter_width": 36, "num_layers": 2}
OLD = {"rezero": False, "attention_window": None, "pw_max": 9, "ip_max": 9, "sn_max": 15}  # v0.1 to v0.3
NO_DROPOUT = dict.fromkeys(("residual_dropout", "attention_dropout", "relu_dropout"), 0.0)
VARIANTS = {
    "v1.2": {},
    "v1.2 with quality": {"use_ccs_quality": True},
    "v1.1": {"rezero": False},
    "v1.0": {"rezero": False, "attention_window": None},
    "v0.3": {"rezero": False, "attention_window": None, "pw_max": 9, "ip_max": 9, "sn_max": 15, "window_length": 53},
    "v0.2": {
        "rezero": False,
        "attention_window": None,
        "pw_max": 9,
        "ip_max": 9,
        "sn_max": 15,
        "condenser_width": None,
    },
    "one pass, one column": {"max_passes": 1, "window_length": 1},
    "four narrow heads": {"num_heads": 4, "attention_window": 1, "strand_width": 3, "sn_width": 5},
}
GOLDEN = ["ckpt_rezero_6L", "ckpt_preln_2L_full"]

each_variant = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())


def random_rows(config, num_windows, seed=0):
    """Raw pileup values, float64, some beyond the caps and some with fractions."""
    rng = np.random.default_rng(seed)
    passes = config.max_passes
    shape = (num_windows, passes, config.window_length)
    parts = [
        rng.integers(0, 5, shape),
        rng.integers(0, config.pw_max + 50, shape),
        rng.integers(0, config.ip_max + 50, shape),
        np.broadcast_to(rng.integers(0, 3, (num_windows, passes, 1)), shape),
        rng.integers(0, 5, shape)[:, :1],
    ]
    if config.use_ccs_quality:
        parts.append(rng.integers(-1, 94, shape)[:, :1])
    parts.append(np.broadcast_to(rng.uniform(0, config.sn_max * 1.1, (num_windows, 4, 1)), (num_windows, 4, shape[2])))
    return np.concatenate(parts, axis=1).astype(np.float64)


def random_model(changes=(), seed=0):
    """A model in evaluation mode whose every weight matters."""
    torch.manual_seed(seed)
    model = ConsensusTransformer(ConsensusConfig(**(SMALL | dict(changes)))).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            torch.nn.init.normal_(parameter, mean=float("norm.weight" in name), std=0.3)
    return model


def spec_logits(model, rows):
    """Logits by the specification: loops over features, NumPy, float64. Rows as the original stores them."""
    config = model.config
    weights = {name: tensor.detach().double().numpy() for name, tensor in model.state_dict().items()}
    passes, caps = config.max_passes, {"pw": config.pw_max, "ip": config.ip_max, "sn": config.sn_max}
    kinds = ["base"] * passes + ["pw"] * passes + ["ip"] * passes + ["strand"] * passes + ["base"]
    kinds += ["ccs_quality"] * config.use_ccs_quality + ["sn"] * 4
    columns = []
    for row, kind in zip(rows.transpose(1, 0, 2), kinds, strict=True):
        row = np.clip(row, 0, caps[kind]) if kind in caps else row
        index = np.trunc(row + (kind == "ccs_quality")).astype(int)
        table = weights[f"{kind}_embedding.weight"]
        columns.append(table[index] * math.sqrt(table.shape[1]) * (index != 0)[..., None])
    x = np.concatenate(columns, axis=-1)
    x = x @ weights["condenser.weight"].T if "condenser.weight" in weights else x

    length, width = x.shape[1:]
    for column in range(width // 2):
        angle = np.arange(length) * 1e4 ** (-column / max(width // 2 - 1, 1))
        x[:, :, column] += np.sin(angle)
        x[:, :, width // 2 + column] += np.cos(angle)

    def norm(x, name):
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def attend(x, name):
        size, mixed = width // config.num_heads, []
        for head in range(config.num_heads):
            own = slice(head * size, (head + 1) * size)
            query, key, value = (x @ weights[f"{name}.{n}.weight"][own].T for n in ("query", "key", "value"))
            scores = query @ key.transpose(0, 2, 1) / math.sqrt(size)
            if config.attention_window is not None:
                distance = np.abs(np.arange(length)[:, None] - np.arange(length))
                scores = np.where(distance <= config.attention_window, scores, -1e9)
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            mixed.append(shares / shares.sum(-1, keepdims=True) @ value)
        return np.concatenate(mixed, -1) @ weights[f"{name}.output.weight"].T

    def feed_forward(x, name):
        hidden = np.maximum(x @ weights[f"{name}.hidden.weight"].T + weights[f"{name}.hidden.bias"], 0)
        return hidden @ weights[f"{name}.output.weight"].T + weights[f"{name}.output.bias"]

    for layer in range(config.num_layers):
        for name, sub in ((f"layers.{layer}.attention", attend), (f"layers.{layer}.feed_forward", feed_forward)):
            x = x + (weights[f"{name}_scale"] * sub(x, name) if config.rezero else sub(norm(x, f"{name}_norm"), name))
    return norm(x, "final_norm") @ weights["head.weight"].T + weights["head.bias"]


def worst(found, expected):
    return np.abs(np.asarray(found, dtype=np.float64) - expected).max()


# The model


def test_qualities_above_the_cap_are_the_cap():
    model = random_model({**SMALL, "use_ccs_quality": True, "ccs_quality_cap": 40})
    uncapped = random_model({**SMALL, "use_ccs_quality": True})
    rows = torch.from_numpy(random_rows(model.config, 3))
    row = 4 * model.config.max_passes + 1
    rows[:, row, :4] = torch.tensor([-1.0, 39.0, 40.0, 93.0])
    low = rows.clone()
    low[:, row] = low[:, row].clamp(max=40)
    with torch.no_grad():
        assert torch.equal(model(rows), uncapped(low))
        assert not torch.equal(model(rows), uncapped(rows))
        assert torch.equal(prepare_for_inference(model, "fp32")(rows), prepare_for_inference(uncapped, "fp32")(low))


@each_variant
def test_logits_are_those_of_the_specification(changes):
    model = random_model(changes)
    rows = random_rows(model.config, 5)
    expected = spec_logits(model, rows)
    assert expected.std() > 0.3  # a model that says something
    with torch.no_grad():
        assert worst(model(torch.from_numpy(rows)), expected) < 2e-5
        assert worst(model.double()(torch.from_numpy(rows)), expected) < 2e-6  # positions stay float32


@each_variant
def test_training_reaches_every_weight_but_those_of_absent_values(changes):
    model = random_model(changes).train()
    rows = torch.from_numpy(random_rows(model.config, 300))
    model(rows).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all()
        if "embedding" in name:
            assert not parameter.grad[0].any(), name
            assert parameter.grad[1:].any(), name
        elif model.config.window_length > 1 or ("query" not in name and "key" not in name):
            assert parameter.grad.any(), name


def test_training_gradient_against_float64():
    model, exact, plain = random_model(NO_DROPOUT), random_model(NO_DROPOUT).double(), random_model(NO_DROPOUT)
    for part in plain.modules():
        if isinstance(part, linear.Linear):
            part.backend = "torch"
    rows = torch.from_numpy(random_rows(model.config, 8))
    for each in (model, exact, plain):
        each.train()(rows).square().mean().backward()
    compared = zip(model.named_parameters(), exact.parameters(), plain.parameters(), strict=True)
    for (name, mine), truth, theirs in compared:
        size = truth.grad.norm().item()
        error, plain_error = ((p.grad.double() - truth.grad).norm().item() for p in (mine, theirs))
        # A scale has one number, a draw of the rounding noise of a sum that nearly cancels.
        assert error <= (2 * plain_error + 2**-22 * size if truth.dim() else 1e-4 * size), name


def test_dropout_acts_in_training_only():
    for place in NO_DROPOUT:
        model = random_model(NO_DROPOUT | {place: 0.3})
        rows = torch.from_numpy(random_rows(model.config, 2))
        assert torch.equal(model(rows), model(rows))
        model.train()
        assert not torch.equal(model(rows), model(rows)), place


def test_embedding_by_hand():
    model = random_model({"max_passes": 1, "window_length": 2, "use_ccs_quality": True})
    tables = {name: getattr(model, f"{name}_embedding").weight * 8**0.5 for name in ("base", "pw", "ip", "sn")}
    strand, quality = model.strand_embedding.weight * 2**0.5, model.ccs_quality_embedding.weight * 8**0.5
    #                      base      PW       IP       strand  CCS     quality   SN: fractions cut, capped at 500
    rows = torch.tensor(
        [[[4, 0], [300, 0], [0, -3], [2, 2], [1, 0], [93, -1], [7.9, 0.9], [0, 0], [501, 500], [-1, 1]]]
    )
    found = embed_pileup(rows, model.features, model.tables())
    nothing = torch.zeros(8)
    expected = [
        torch.cat([tables["base"][4], tables["pw"][255], nothing, strand[2], tables["base"][1], quality[94],
                   tables["sn"][7], nothing, tables["sn"][500], nothing]),
        torch.cat([nothing, nothing, nothing, strand[2], nothing, nothing,
                   nothing, nothing, tables["sn"][500], tables["sn"][1]]),
    ]  # fmt: skip
    torch.testing.assert_close(found[0], torch.stack(expected))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.float32])
def test_dtype_of_the_rows_does_not_matter(dtype):
    model = random_model({"pw_max": 100, "ip_max": 100, "sn_max": 200})
    rows = np.floor(random_rows(model.config, 3))
    typed = rows.astype(dtype)
    with torch.no_grad():
        assert torch.equal(model(torch.from_numpy(typed)), model(torch.from_numpy(rows)))
    predictor, typed.flags.writeable = prepare_for_inference(model), False  # as arrays from shared memory are
    assert torch.equal(predictor(typed), predictor(rows))


@pytest.mark.parametrize(
    ("row", "value", "message"),
    [
        (1, 5, "pileup rows 0 to 2 hold base values from 0 to 5; expected 0 to 4"),
        (9, 3, "pileup rows 9 to 11 hold strand values from 0 to 3; expected 0 to 2"),
        (12, -1, "pileup rows 12 to 12 hold base values from -1 to 0; expected 0 to 4"),
        (13, 94, "pileup rows 13 to 13 hold ccs_quality values from 0 to 94; expected -1 to 93"),
    ],
)
def test_values_without_an_embedding_are_named(row, value, message):
    model = random_model({"use_ccs_quality": True})
    rows = torch.zeros(2, 18, 40)
    rows[1, row, 7] = value
    for compute in (model, prepare_for_inference(model)):
        with pytest.raises(DataError) as caught:
            compute(rows)
        assert str(caught.value) == message


def test_rows_of_another_shape_are_refused():
    model = random_model()
    for shape in ((2, 18, 40), (2, 17, 41), (17, 40)):
        with pytest.raises(UsageError) as caught:
            check_rows(torch.zeros(shape), model.config)
        assert f"shape {shape}; expected (windows, 17, 40)" in str(caught.value)
    for compute in (model, prepare_for_inference(model)):
        with pytest.raises(UsageError):
            compute(torch.zeros(2, 18, 40))


def test_widths_that_do_not_work_are_refused():
    for changes in ({"condenser_width": 25, "num_heads": 5}, {"condenser_width": 24, "num_heads": 5}):
        with pytest.raises(ConfigError, match=r"layers are 2[45] wide; expected an even multiple of num_heads=5"):
            ConsensusTransformer(ConsensusConfig(**changes))


# Sizes: parameters that the original's own summaries and checkpoints have


@pytest.mark.parametrize(
    ("changes", "num_parameters"),
    [
        ({}, 8_943_775),
        ({"use_ccs_quality": True}, 8_946_775),
        ({"rezero": False, "num_layers": 5}, 7_486_555),  # v1.0 and v1.1
        (OLD | {"window_length": 120}, 8_942_667),  # v0.3
        (OLD | {"window_length": 120, "condenser_width": None}, 21_322_307),  # v0.1 and v0.2
    ],
)
def test_published_sizes(changes, num_parameters):
    config = ConsensusConfig(**changes)
    with torch.device("meta"):
        model = ConsensusTransformer(config)
        logits = model(torch.zeros(3, config.num_rows, config.window_length, dtype=torch.int16))
    assert sum(parameter.numel() for parameter in model.parameters()) == num_parameters
    assert logits.shape == (3, config.window_length, 5)
    assert "positions" not in model.state_dict()


def test_calls_by_hand():
    probs = torch.tensor([[[0.1, 0.2, 0.4, 0.1, 0.2], [0.96, 0.01, 0.01, 0.01, 0.01], [0.0, 0.25, 0.0, 0.0, 0.75]]])
    codes, error_prob = call_bases(probs.log() + 3.0)
    assert codes.dtype == torch.uint8
    assert codes.tolist() == [[2, 0, 4]]
    torch.testing.assert_close(error_prob, torch.tensor([[0.6, 0.04, 0.25]]))
    torch.testing.assert_close(base_probs(probs.log() - 5.0), probs)


def test_calls_are_float32_whatever_the_logits():
    logits = torch.tensor([[[0.0, 12.0, 0.0, 0.0, 0.0]]], dtype=torch.bfloat16)
    codes, error_prob = call_bases(logits)
    assert error_prob.dtype == torch.float32
    # in bfloat16 this would be 0
    assert error_prob.item() == pytest.approx(4 * math.exp(-12), rel=0.02)
    assert codes.item() == 1


# Inference


@each_variant
def test_predictor_computes_the_same(changes):
    model = random_model(changes)
    rows = random_rows(model.config, 7)
    expected = spec_logits(model, rows)
    with torch.no_grad():
        plain = worst(model(torch.from_numpy(rows)), expected)
        plain_half = worst(random_model(changes).bfloat16()(torch.from_numpy(rows)).float(), expected)
    found = prepare_for_inference(model, tile=4)(rows)
    assert found.dtype == torch.float32
    assert worst(found, expected) <= 2 * plain + 1e-6
    half = prepare_for_inference(model, "bf16", tile=4)(rows)
    assert half.dtype == torch.float32
    assert 1e-5 < worst(half, expected) <= 2 * plain_half


def test_predictor_runs_by_onednn_and_by_torch(monkeypatch, caplog):
    if reason := onednn_refusal(torch.device("cpu"), torch.float32):
        pytest.skip(reason)
    model = random_model()
    rows = random_rows(model.config, 3)
    with caplog.at_level(logging.INFO, logger="genoformer"):
        fast = prepare_for_inference(model)
        monkeypatch.setattr(linear, "_processor_refusal", lambda dtype: "told so")
        slow = prepare_for_inference(model)
    assert (fast.linear_backend, slow.linear_backend) == ("onednn", "torch")
    assert fast.attention_backend == "product"
    assert caplog.messages == [
        "inference in fp32 on cpu: linear maps by onednn, attention by product",
        "inference in fp32 on cpu: linear maps by torch (told so), attention by product",
    ]
    assert worst(fast(rows), slow(rows).double().numpy()) < 2e-5


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("rezero", [True, False])
def test_a_window_does_not_depend_on_its_neighbours(precision, rezero):
    model = random_model({"rezero": rezero, "condenser_width": 70, "filter_width": 130})
    rows = random_rows(model.config, 45)
    rng = np.random.default_rng(1)
    for tile in (1, 4, 7, 32):
        predictor = prepare_for_inference(model, precision, tile=tile)
        whole = predictor(rows)
        assert torch.equal(predictor(rows), whole)
        for _ in range(3):
            order = rng.permutation(45)
            assert torch.equal(predictor(rows[order]), whole[order])
        for num_windows in (0, 1, 2, 7, 8, 33, 44):
            assert torch.equal(predictor(rows[:num_windows]), whole[:num_windows])
            assert torch.equal(predictor(rows[num_windows:]), whole[num_windows:])


def test_predictor_keeps_its_own_weights_and_leaves_the_model():
    model = random_model({"rezero": False})
    rows = random_rows(model.config, 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    predictor = prepare_for_inference(model)
    found = predictor(rows)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(predictor(rows), found)
    assert found.any()


def test_bad_options_are_refused():
    with pytest.raises(UsageError, match="precision is 'fp16'; expected one of fp32, bf16"):
        prepare_for_inference(random_model(), "fp16")
    with pytest.raises(UsageError, match="tile is 0; expected at least 1 window"):
        prepare_for_inference(random_model(), tile=0)


@pytest.mark.gpu
@each_variant
def test_predictor_on_a_gpu(changes):
    model = random_model(changes)
    rows = random_rows(model.config, 7)
    expected = spec_logits(model, rows)
    with torch.no_grad():
        plain_half = worst(random_model(changes).bfloat16()(torch.from_numpy(rows)).float(), expected)
    for precision, tolerance in (("fp32", 4e-5), ("bf16", 2 * plain_half)):
        predictor = prepare_for_inference(model.cuda(), precision)
        found = predictor(rows)
        assert found.is_cuda
        assert (predictor.linear_backend, predictor.tile) == ("torch", None)
        assert worst(found.cpu(), expected) <= tolerance


# The original's outputs, see golden/README.md beside them: random weights, real reads


@pytest.fixture(params=GOLDEN)
def golden(request, shared_data):
    """A converted model of the original and what the original computed with it."""
    folder = shared_data / "consensus" / "golden" / request.param
    if not folder.is_dir():
        pytest.skip(f"the original's outputs are not there: {folder}")
    conversion = convert_deepconsensus(folder)
    model = ConsensusTransformer(conversion.config).eval()
    model.load_state_dict(conversion.state_dict)
    with np.load(folder / "activations.npz") as arrays:
        return model, dict(arrays)


def test_intermediate_values_are_those_of_the_original(golden):
    model, expected = golden
    seen = {}
    for name, part in (("ffn_layer_0", model.layers[0]), ("final_output", model.final_norm)):
        part.register_forward_hook(lambda _part, _inputs, output, name=name: seen.update({name: output}))
    with torch.no_grad():
        seen["logits"] = model(torch.from_numpy(expected["rows"][..., 0]))
    seen["softmax"] = base_probs(seen["logits"])
    for name, tolerance in (("ffn_layer_0", 2e-5), ("final_output", 2e-5), ("logits", 1e-5), ("softmax", 2e-6)):
        assert worst(seen[name], expected[name]) < tolerance, name


def test_attention_weights_are_those_of_the_original(golden):
    model, expected = golden
    layer, shares = model.layers[0], expected["attention_scores_0"]  # [windows, H, L, L]
    inputs = []
    layer.attention.register_forward_pre_hook(lambda _part, args: inputs.append(args[0]))
    with torch.no_grad():
        model(torch.from_numpy(expected["rows"][: len(shares), :, :, 0]))
        query, key = (split_heads(project(inputs[0]), 2) for project in (layer.attention.query, layer.attention.key))
        one_each = torch.eye(100).expand(len(shares), 2, 100, 100)  # values that show their weights
        for backend in ("sdpa", "product"):
            found = attention(query, key, one_each, window=layer.attention.window, backend=backend)
            assert worst(found, shares) < 5e-6


def test_predictor_gives_the_probabilities_of_the_original(golden):
    model, expected = golden
    rows = expected["rows"][..., 0].astype(np.int16)
    assert worst(base_probs(prepare_for_inference(model)(rows)), expected["softmax"]) < 2e-6
    half = base_probs(prepare_for_inference(model, "bf16")(rows))
    assert 2e-6 < worst(half, expected["softmax"]) < 0.02
    assert (half.argmax(-1).numpy() != expected["softmax"].argmax(-1)).mean() <= 0.01


@pytest.mark.parametrize(
    "name", ["sn_embedding.weight", "layers.1.attention.key.weight", "layers.0.feed_forward.output.bias"]
)
def test_one_disturbed_weight_is_seen(golden, name):
    model, expected = golden
    rows = expected["rows"][..., 0]
    parameter = model.get_parameter(name)
    with torch.no_grad():
        if "sn" in name:
            parameter[int(rows[0, -1, 0])] *= 1.01
        else:
            parameter[3] *= 1.01
    for compute in (model, prepare_for_inference(model)):
        with torch.no_grad():
            found = compute(torch.from_numpy(rows))
        assert worst(base_probs(found), expected["softmax"]) > 2e-6
