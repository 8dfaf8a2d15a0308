import pytest
import torch
from torch import nn

from genoformer.nn.linear import Linear
from genoformer.nn.low_rank import adapt_linear_maps_, merge_differences


def plain_and_adapted(rank=2, alpha=6.0):
    torch.manual_seed(0)
    plain = nn.Sequential(Linear(5, 7), nn.LayerNorm(7), Linear(7, 3, bias=False))
    adapted = nn.Sequential(Linear(5, 7), nn.LayerNorm(7), Linear(7, 3, bias=False))
    adapted.load_state_dict(plain.state_dict())
    adapt_linear_maps_(adapted, rank=rank, alpha=alpha)
    return plain, adapted


def test_it_starts_as_the_plain_model_and_learns_the_differences_alone():
    plain, adapted = plain_and_adapted()
    x = torch.randn(4, 5)
    assert torch.equal(adapted(x), plain(x))
    adapted(x).square().sum().backward()
    learned = {name for name, param in adapted.named_parameters() if param.requires_grad}
    assert learned == {f"{map_}.parametrizations.weight.0.{part}" for map_ in (0, 2) for part in ("up", "down")}
    assert {name for name, param in adapted.named_parameters() if param.grad is not None} == learned


@pytest.mark.parametrize(("rank", "alpha"), [(1, 1.0), (2, 6.0), (3, 0.5)])
def test_merged_weights_do_the_same(rank, alpha):
    plain, adapted = plain_and_adapted(rank, alpha)
    with torch.no_grad():
        for name, param in adapted.named_parameters():
            if name.endswith((".up", ".down")):
                param.normal_()
    parts = adapted.state_dict()
    merged = merge_differences(parts, alpha=alpha)
    up, down = (parts[f"2.parametrizations.weight.0.{part}"].double() for part in ("up", "down"))
    by_hand = plain[2].weight.double() + sum(alpha / rank * torch.outer(up[:, r], down[r]) for r in range(rank))
    torch.testing.assert_close(merged["2.weight"].double(), by_hand, rtol=1e-5, atol=1e-6)
    x, before = torch.randn(4, 5), plain(torch.ones(1, 5))
    plain.load_state_dict(merged)  # plain names, all of them
    torch.testing.assert_close(plain(x), adapted(x))
    assert not torch.allclose(plain(torch.ones(1, 5)), before)


def test_a_plain_state_stays_as_it_is():
    plain, _ = plain_and_adapted()
    merged = merge_differences(plain.state_dict(), alpha=2.0)
    assert merged.keys() == plain.state_dict().keys()
    assert all(torch.equal(merged[name], tensor) for name, tensor in plain.state_dict().items())
