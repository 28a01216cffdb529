"""Filled weights: equal for equal keys, and different for any two weights that could be swapped."""

import torch

from tools.fill import BANK, fill


def filled(*keys: str, shape: tuple[int, ...] = (64, 32), salt: str = "") -> list[torch.Tensor]:
    return list(fill({key: torch.empty(shape) for key in keys}, salt).values())


def test_a_weight_depends_only_on_its_key_and_the_salt():
    one, other = filled("a.weight", "b.weight")
    assert torch.equal(filled("b.weight", "a.weight")[1], one)
    assert not torch.allclose(one, other)
    assert not torch.allclose(filled("a.weight", salt="s")[0], one)
    assert torch.equal(filled("a.weight", shape=(32, 32))[0] * 32**0.5, one[:32] * 32**0.5)


def test_scales():
    assert abs(filled("a.weight", shape=(500, 4, 5, 5))[0].std().item() - 0.1) < 0.002
    assert abs(filled("norm.weight", shape=(10_000,))[0].mean().item() - 1) < 0.02
    assert abs(filled("norm.bias", shape=(10_000,))[0].std().item() - 0.3) < 0.01
    assert filled("norm.running_var", shape=(10_000,))[0].min() >= 1


def test_rows_of_a_weight_longer_than_the_bank_differ():
    (w,) = filled("huge.weight", shape=(3, BANK))
    assert torch.equal(w[0], w[1])  # the bank is a ring
    (w,) = filled("large.weight", shape=(3, 2**21))
    assert not torch.allclose(w[0], w[2])
