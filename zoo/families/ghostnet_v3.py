"""GhostNetV3: GhostNetV2 whose convolutions are trained as several branches and run as one.

    image -> 3x3 conv, stride 2 -> 9 stages of blocks -> 1x1 conv -> mean -> 1x1 conv -> fc
    block -> ghost module * gates, to many channels -> (depthwise conv, stride 2) -> (gates) -> ghost module back to few
             -> + shortcut
    ghost module -> 3 1x1 convs, added -> beside them, 3 3x3 and a 1x1 depthwise conv of the sum and the sum itself

All branches are linear and have a batch norm each, so their sum folds into one convolution (zoo/layers/reparam.py). The
gates are GhostNetV2's (zoo/families/ghostnet_v2.py); the paper is about training, with branches and a teacher: Liu et
al. 2024, "GhostNetV3: Exploring the Training Strategies for Compact Models", arXiv:2404.11202. The numbers in names are
the width in percent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.families.ghostnet import STAGES, Ghost, GhostModule, of_kind, wide
from zoo.families.ghostnet_v2 import GatedGhost, GhostNetV2, StripGates
from zoo.layers.conv import conv
from zoo.layers.norm import Act
from zoo.layers.reparam import branch_sum, fold_branches
from zoo.layers.staged import Block, Layers
from zoo.layers.table import Style
from zoo.registry import register

BRANCHES = 3  # convs of one kind


class Branch(nn.Module):
    """conv -> batch norm. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""

    def __init__(self, dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv, self.bn1 = conv(dim_in, dim, kernel, stride, groups), nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn1(self.conv(x))


def branches(dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.ModuleList:
    """Make convs of one kind, to be added."""
    return nn.ModuleList(Branch(dim_in, dim, kernel, stride, groups) for _ in range(BRANCHES))


class BranchedGhost(nn.Module):
    """ghost module (* gates). (B, dim_in, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim_in: int, dim: int, act: Act, gates: nn.Module | None = None):
        super().__init__()
        half = dim // 2
        self.primary_rpr_conv = branches(dim_in, half, 1)
        self.cheap_rpr_skip = nn.BatchNorm2d(half)
        self.cheap_rpr_conv = branches(half, half, 3, groups=half)
        self.cheap_rpr_scale = Branch(half, half, 1, groups=half)
        self.act, self.short_conv = act(), gates

    def cheap(self) -> Sequence[nn.Module]:
        return self.cheap_rpr_scale, self.cheap_rpr_skip, *self.cheap_rpr_conv

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(branch_sum([*self.primary_rpr_conv], x))
        y = torch.cat([y, self.act(branch_sum(self.cheap(), y))], 1)
        return y if self.short_conv is None else y * self.short_conv(x)

    def folded(self) -> nn.Module:
        primary = nn.Sequential(fold_branches([*self.primary_rpr_conv]), self.act)
        cheap = nn.Sequential(fold_branches(self.cheap()), self.act)
        return GhostModule(primary, cheap) if self.short_conv is None else GatedGhost(primary, cheap, self.short_conv)


class StridedBlock(Block):
    """A block whose strided conv is a sum of branches. (B, dim_in, H, W) -> (B, dim, H/2, W/2), rounded up."""

    ghost1: BranchedGhost
    se: nn.Module
    ghost2: BranchedGhost

    def __init__(self, row: Ghost, layers: Layers, shortcut: nn.Module, drop_path: float):
        super().__init__(layers, shortcut, drop_path, nn.Identity())
        self.dw_rpr_conv = branches(row.hidden, row.hidden, row.kernel, 2, groups=row.hidden)
        self.dw_rpr_scale = Branch(row.hidden, row.hidden, 1, 2, groups=row.hidden)

    def forward(self, x: Tensor) -> Tensor:
        assert self.shortcut is not None
        y = branch_sum([self.dw_rpr_scale, *self.dw_rpr_conv], self.ghost1(x))
        return self.drop_path(self.ghost2(self.se(y))) + self.shortcut(x)

    def folded(self) -> nn.Module:
        conv_dw = fold_branches([self.dw_rpr_scale, *self.dw_rpr_conv])
        layers = {"ghost1": self.ghost1.folded(), "conv_dw": conv_dw, "se": self.se, "ghost2": self.ghost2.folded()}
        return Block(layers, self.shortcut, self.drop_path.rate, self.act)


@dataclass(frozen=True)
class Branched(Ghost):
    """A row of blocks of two ghost modules of branches."""

    def ghost(self, dim_in: int, dim: int, act: Act) -> nn.Module:
        return BranchedGhost(dim_in, dim, act)

    def strided(self) -> Layers:
        return {}  # StridedBlock makes it

    def block(self, dim_in: int, stride: int, drop_path: float, style: Style) -> nn.Module:
        if stride == 1:
            return super().block(dim_in, stride, drop_path, style)
        return StridedBlock(self, self.layers(dim_in, stride, style), self.skip(dim_in, stride), drop_path)


@dataclass(frozen=True)
class BranchedGated(Branched):
    """The same, the first ghost module with gates."""

    attends = True  # as in GhostNetV2

    def expand(self, dim_in: int, act: Act) -> nn.Module:
        return BranchedGhost(dim_in, self.hidden, act, StripGates(dim_in, self.hidden))


ROWS = (*of_kind(Branched, STAGES[:2]), *of_kind(BranchedGated, STAGES[2:]))
VARIANTS = {
    "ghostnetv3_050": wide(0.5, ROWS),
    "ghostnetv3_100": wide(1.0, ROWS),
    "ghostnetv3_130": wide(1.3, ROWS),
    "ghostnetv3_160": wide(1.6, ROWS),
}
register(GhostNetV2, VARIANTS)
