"""A fused model is the same function, and explains itself in the same way."""

import pytest
import torch
from torch import nn

import explain
import zoo
from tests.models import build


def convolutions(model: nn.Module) -> int:
    return sum(isinstance(m, nn.Conv2d) for m in model.modules())


@pytest.mark.parametrize("name", ["fastvit_t8", "fastvit_sa12", "fastvit_mci0", "resnet18"])
def test_outputs_and_maps_stay(name):
    model = build(name)
    for key, parameter in model.named_parameters():
        if key.endswith("gamma"):  # of unit size it would let signals grow with depth, and rounding with them
            parameter.data *= 0.1
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fused = zoo.fuse(model)
    x = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.inference_mode():
        expected, found = model(x), fused(x)
    scale = expected.std().item()
    torch.testing.assert_close(found / scale, expected / scale, rtol=1e-9, atol=1e-9)
    for method in ("grad_cam", "layer_cam", "saliency"):
        plain, folded = (explain.explain(m, x, method, target=3).raw for m in (model, fused))
        torch.testing.assert_close(folded / plain.std(), plain / plain.std(), rtol=1e-6, atol=1e-6)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(p.requires_grad for p in fused.parameters())


def test_no_branch_is_left():
    model = zoo.create("fastvit_t8")
    fused = zoo.fuse(model)
    norms = [m for m in fused.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms == []
    assert convolutions(fused) < convolutions(model)
    assert sum(p.numel() for p in fused.parameters()) < sum(p.numel() for p in model.parameters())
