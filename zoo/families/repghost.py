"""RepGhostNet: GhostNet whose ghosts are added to what they are made of, which costs no copy and folds away.

    image -> 3x3 conv, stride 2 -> 9 stages of blocks -> 1x1 conv -> mean -> 1x1 conv -> fc
    block -> as in GhostNet (zoo/families/ghostnet.py), half as wide inside
    ghost module -> 1x1 conv -> its 3x3 depthwise conv + itself, each with batch norm -> relu

The sum of the two branches is one depthwise convolution when the model is folded (zoo/layers/reparam.py). Chen et al.
2022, "RepGhost: A Hardware-Efficient Ghost Module via Re-parameterization", arXiv:2211.06088. The numbers in names are
the width in percent.
"""

from dataclasses import dataclass, replace

from torch import Tensor, nn

from zoo.families.ghostnet import STAGES, Ghost, GhostNet, conv_unit, of_kind, wide
from zoo.layers.norm import Act
from zoo.layers.reparam import BranchSum
from zoo.registry import register


class AddedGhost(BranchSum):
    """1x1 conv -> its depthwise conv + itself. (B, dim_in, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim_in: int, dim: int, act: Act):
        super().__init__()
        self.primary_conv = conv_unit(dim_in, dim, 1, act=act)
        self.cheap_operation = conv_unit(dim, dim, 3, groups=dim)
        self.fusion_bn = nn.Sequential(nn.BatchNorm2d(dim))
        self.relu = act()

    def branches(self) -> list[nn.Module]:
        return [self.cheap_operation, *self.fusion_bn]

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(super().forward(self.primary_conv(x)))

    def folded(self) -> nn.Module:
        return nn.Sequential(self.primary_conv, super().folded(), self.relu)


@dataclass(frozen=True)
class RepGhost(Ghost):
    """A row of blocks of two such modules."""

    def ghost(self, dim_in: int, dim: int, act: Act) -> nn.Module:
        return AddedGhost(dim_in, dim, act)


def halved(row: Ghost) -> Ghost:
    """Halve the channels inside; the paper has 120 where half of GhostNet's would be 92."""
    return replace(row, hidden=120 if row.hidden == 184 else row.hidden // 2)


ROWS = of_kind(RepGhost, tuple(tuple(halved(row) for row in stage) for stage in STAGES))
VARIANTS = {
    "repghostnet_050": wide(0.5, ROWS),
    "repghostnet_058": wide(0.58, ROWS),
    "repghostnet_080": wide(0.8, ROWS),
    "repghostnet_100": wide(1.0, ROWS),
    "repghostnet_111": wide(1.11, ROWS),
    "repghostnet_130": wide(1.3, ROWS),
    "repghostnet_150": wide(1.5, ROWS),
    "repghostnet_200": wide(2.0, ROWS),
}
register(GhostNet, VARIANTS)
