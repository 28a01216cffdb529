"""RepVGG, MobileOne and RepViT: branches that become one convolution a block."""

import pytest
import torch
from torch import nn

import explain
import zoo
from tests.models import build
from tools.fill import noise_image
from zoo.families.repvgg import Rep, RepVggBlock
from zoo.layers.table import PLAIN


@pytest.mark.parametrize(("name", "blocks"), [("repvgg_a0", 22), ("mobileone_s0", 43), ("repvit_m1", 103)])
def test_a_fused_model_is_a_plain_stack(name: str, blocks: int):
    """A conv for each of the 21 blocks, or 21 pairs, in the stages, and one for the stem. Maps stay the same.

    RepViT has 3 in each of 20 blocks, 7 in each of 3 halvings, 2 in each of 10 gates, and 2 in the stem.
    """
    model, x = build(name), noise_image(1, 64, 96)
    fused = zoo.fuse(model)
    assert sum(isinstance(m, nn.Conv2d) for m in fused.modules()) == blocks
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    for method in ("grad_cam", "saliency"):
        maps, expected = (explain.explain(each, x, method).raw for each in (fused, model))
        torch.testing.assert_close(maps / expected.std(), expected / expected.std(), rtol=0, atol=1e-6)


def test_drop_path_leaves_the_input():
    """In training, the convs of a block may be skipped, but never its batch norm of the input."""
    block = RepVggBlock(6, Rep(6), 1, 1 - 1e-12, PLAIN).eval()
    assert block.identity
    block.drop_path.train()
    x = torch.randn(4, 6, 5, 5)
    torch.testing.assert_close(block(x), block.identity(x).relu())
