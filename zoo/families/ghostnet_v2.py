"""GhostNetV2: what a block computes in its middle is weighed by gates that see a long strip of rows and columns.

    image -> 3x3 conv, stride 2 -> 9 stages of blocks -> 1x1 conv -> mean -> 1x1 conv -> fc
    block -> ghost module * gates, to many channels -> the rest as in GhostNet (zoo/families/ghostnet.py)
    gates -> 2x2 mean -> 1x1 conv -> 1x5 depthwise conv -> 5x1 depthwise conv -> sigmoid -> each cell 2x2 times

The first two blocks have no such gates. The paper calls them attention of decoupled fully connected layers, one along
each axis: Tang et al. 2022, "GhostNetV2: Enhance Cheap Operation with Long-Range Attention", arXiv:2211.12905. The
numbers in names are the width in percent.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.families.ghostnet import STAGES, Ghost, GhostModule, GhostNet, conv_unit, halves, of_kind, wide
from zoo.layers.norm import Act
from zoo.registry import register


class StripGates(nn.Sequential):
    """Gates for each channel and position, made at half of the resolution. (B, dim_in, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim_in: int, dim: int):
        row = nn.Conv2d(dim, dim, (1, 5), padding=(0, 2), groups=dim, bias=False)
        column = nn.Conv2d(dim, dim, (5, 1), padding=(2, 0), groups=dim, bias=False)
        norms = nn.BatchNorm2d(dim), nn.BatchNorm2d(dim)
        super().__init__(*conv_unit(dim_in, dim, 1), row, norms[0], column, norms[1], nn.Sigmoid())

    def forward(self, input: Tensor) -> Tensor:
        return F.interpolate(super().forward(F.avg_pool2d(input, 2)), input.shape[2:])


class GatedGhost(GhostModule):
    """ghost module * gates. (B, dim_in, H, W) -> (B, dim, H, W)."""

    def __init__(self, primary: nn.Module, cheap: nn.Module, gates: nn.Module):
        super().__init__(primary, cheap)
        self.short_conv = gates

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.short_conv(x)


@dataclass(frozen=True)
class Gated(Ghost):
    """A row of blocks whose first ghost module has gates."""

    attends = True  # in the paper's words: GhostNetV2 says why there is nothing to show

    def expand(self, dim_in: int, act: Act) -> nn.Module:
        return GatedGhost(*halves(dim_in, self.hidden, act), StripGates(dim_in, self.hidden))


class GhostNetV2(GhostNet):
    """Image (B, 3, H, W) -> features (B, C, H/32, W/32) -> hidden (B, num_features) -> logits (B, num_classes)."""

    no_attention = "convolutions make its gates, of a channel or of each position, and no two positions are compared"
    smallest = 33  # so that the last grid has cells for a 2x2 mean


GATED = (*STAGES[:2], *of_kind(Gated, STAGES[2:]))
VARIANTS = {
    "ghostnetv2_100": wide(1.0, GATED),
    "ghostnetv2_130": wide(1.3, GATED),
    "ghostnetv2_160": wide(1.6, GATED),
}
register(GhostNetV2, VARIANTS)
