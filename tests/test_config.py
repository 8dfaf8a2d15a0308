import pytest
from pydantic import ValidationError

from genoformer.config import Config, ConsensusConfig, ExpressionConfig, apply_setting_, parse_config
from genoformer.errors import ConfigError


# As DeepConsensus prints them: v1.1 has 85 rows, 560 -> 280; v1.2 with base qualities has 86 rows, 568 -> 280.
@pytest.mark.parametrize(
    ("values", "num_rows", "embedding_width", "hidden_width"),
    [
        ({}, 85, 560, 280),
        ({"use_ccs_quality": True}, 86, 568, 280),
        ({"condenser_width": None}, 85, 560, 560),  # v0.2 has no condenser
        ({"max_passes": 1}, 9, 26 + 8 + 32, 280),  # by hand: one pass, CCS, four SN rows
    ],
)
def test_shapes_of_the_consensus_model(values, num_rows, embedding_width, hidden_width):
    config = ConsensusConfig(**values)
    assert (config.num_rows, config.embedding_width, config.hidden_width) == (num_rows, embedding_width, hidden_width)


def test_a_config_is_frozen():
    config = ConsensusConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.max_passes = 10


def test_a_config_survives_json():
    config = ConsensusConfig(max_passes=3, condenser_width=None, calibration="0,1.2,-3")
    assert ConsensusConfig.model_validate_json(config.model_dump_json()) == config


def test_parse_config_gives_the_kind_and_the_values():
    config = parse_config(ConsensusConfig, {"max_passes": 7, "window_length": 120}, "a.toml")
    assert isinstance(config, ConsensusConfig)
    assert (config.max_passes, config.window_length) == (7, 120)


class Tiny(Config):
    width: int = 4


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (ConsensusConfig, {"max_pases": 20}, "a.toml: unknown key 'max_pases'; did you mean 'max_passes'?"),
        (Tiny, {"qqq": 1}, "a.toml: unknown key 'qqq'"),
        (ConsensusConfig, {"max_passes": 0}, "a.toml: max_passes is 0: Input should be greater than or equal to 1"),
        (ConsensusConfig, {"max_passes": 256}, "a.toml: max_passes is 256: Input should be less than or equal to 255"),
        (
            ConsensusConfig,
            {"ccs_quality_cap": 40, "ccs_quality_max": 41},
            "a.toml: ccs_quality_cap must be at most ccs_quality_max - 2, 39",
        ),
        (ConsensusConfig, {"relu_dropout": 1.0}, "a.toml: relu_dropout is 1.0: Input should be less than 1"),
        (ConsensusConfig, {"num_layers": "six"}, "a.toml: num_layers is 'six': Input should be a valid integer"),
    ],
)
def test_a_bad_config_names_file_key_and_value(kind, values, message):
    with pytest.raises(ConfigError) as caught:
        parse_config(kind, values, "a.toml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_shapes_of_the_expression_model():
    config = ExpressionConfig()
    assert (config.bin_bp, config.hidden_width) == (128, 1536)
    assert config.reach_bp == 259  # measured on enformer-pytorch: a bin sees its own 128 bp and 259 to either side
    small = ExpressionConfig(window_bp=64, target_bins=32, tower_widths=())
    assert (small.bin_bp, small.hidden_width) == (2, 768)
    assert ExpressionConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"window_bp": 1000},
            "m.toml: window_bp is 1000; expected a multiple of a bin's 128 bp",
        ),
        (
            {"window_bp": 6144},
            "m.toml: the window has 48 bins; expected target_bins to 16384",
        ),
        ({"stem_kernel": 4}, "m.toml: stem_kernel and tower_kernel must be odd"),
        ({"heads": {}}, "m.toml: heads is {}: Dictionary should have at least 1 item"),
        ({"heads": {"a b": 1}}, "m.toml: heads.a b.[key] is 'a b': String should match pattern"),
        ({"heads": {"human": 0}}, "m.toml: heads.human is 0: Input should be greater than or equal to 1"),
        ({"position_features": 10}, "m.toml: position_features is 10: Input should be a multiple of 6"),
        ({"tower_widths": [4] * 16}, "m.toml: tower_widths is [4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]: Tuple"),
    ],
)
def test_expression_models_that_cannot_be(values, message):
    with pytest.raises(ConfigError) as caught:
        parse_config(ExpressionConfig, values, "m.toml")
    assert str(caught.value).startswith(message)


def test_settings_are_toml_or_text():
    values = {"optimizer": {"lr": 1.0}}
    for setting in ("a=3", "optimizer.lr = 2e-4", "kind=lamb", "heads.human=5", "widths=[1, 2]"):
        apply_setting_(values, setting)
    expected = {"a": 3, "optimizer": {"lr": 2e-4}, "kind": "lamb", "heads": {"human": 5}, "widths": [1, 2]}
    assert values == expected
    for setting in ("a", "=1", "a..b=1"):
        with pytest.raises(ConfigError, match=f"--set {setting}: expected KEY=VALUE or TABLE.KEY=VALUE"):
            apply_setting_(values, setting)
    with pytest.raises(ConfigError, match=r"--set a.b=1: 'a' is a value, not a table"):
        apply_setting_(values, "a.b=1")
