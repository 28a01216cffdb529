"""Every norm with statistics per image: with its deviation held fixed, it has the same output and a linear gradient."""

import pytest
import torch
from torch import nn

from tools.fill import fill
from zoo.layers.norm import GroupNorm, LayerNorm, LayerNorm2d, RmsNorm, RmsNorm2d, SimpleNorm2d
from zoo.probe import frozen_norm


@pytest.mark.parametrize(
    "norm",
    [
        GroupNorm(12, 3),
        GroupNorm(12, 1, bias=False),
        LayerNorm(12),
        LayerNorm2d(12),
        RmsNorm(12),
        RmsNorm2d(12),
        SimpleNorm2d(12),
    ],
)
def test_with_its_deviation_held_fixed_a_norm_is_linear(norm: nn.Module):
    """So gradient times input sums to the output minus the output at zero, for any weighting of the outputs."""
    norm.load_state_dict(fill(norm.double().state_dict()))
    generator = torch.Generator().manual_seed(0)
    x, weights = torch.randn(2, 2, 12, 5, 12, dtype=torch.float64, generator=generator)
    x.requires_grad_()
    plain, constant = norm(x), norm(torch.zeros_like(x))
    with frozen_norm():
        held = norm(x)
    torch.testing.assert_close(held, plain)
    (gradient,) = torch.autograd.grad((held * weights).sum(), x)
    torch.testing.assert_close((gradient * x).sum(), ((held - constant) * weights).sum())
    (gradient,) = torch.autograd.grad((plain * weights).sum(), x)
    assert (gradient * x).sum().abs() < 1e-2  # scaling the input of a norm changes only the effect of its eps
