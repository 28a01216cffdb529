"""RepVGG and MobileOne: branches that become one convolution a block."""

import pytest
import torch
from torch import nn

import explain
import zoo
from tests.models import build
from tools.fill import noise_image


@pytest.mark.parametrize(("name", "blocks"), [("repvgg_a0", 22), ("mobileone_s0", 43)])
def test_a_fused_model_is_a_plain_stack(name: str, blocks: int):
    """A conv for each of the 21 blocks, or 21 pairs, in the stages, and one for the stem. Maps stay the same."""
    model, x = build(name), noise_image(1, 64, 96)
    fused = zoo.fuse(model)
    assert sum(isinstance(m, nn.Conv2d) for m in fused.modules()) == blocks
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    for method in ("grad_cam", "saliency"):
        maps, expected = (explain.explain(each, x, method).raw for each in (fused, model))
        torch.testing.assert_close(maps / expected.std(), expected / expected.std(), rtol=0, atol=1e-6)


def test_drop_path_leaves_the_input():
    """In training, the convs of a block may be skipped, but never its batch norm of the input."""
    block = build("repvgg_a0", drop_path=0.999).stages[2][13]
    x = torch.randn(4, 192, 5, 5, dtype=torch.float64)
    block.drop_path.train()
    torch.testing.assert_close(block(x), block.identity(x).relu())
