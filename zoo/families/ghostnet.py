"""GhostNet: half of a layer's channels are computed, the others are ghosts, cheap depthwise filters of the first half.

    image -> 3x3 conv, stride 2 -> 9 stages of blocks -> 1x1 conv -> mean -> 1x1 conv -> fc
    block -> ghost module to many channels -> (3x3 or 5x5 depthwise conv, stride 2) -> (gates: mean over the grid, two
             small layers) -> ghost module back to few -> + shortcut

Han et al. 2019, "GhostNet: More Features from Cheap Operations", arXiv:1911.11907. The numbers in names are the width
in percent. The frame is MobileNet-V3's (zoo/families/mobilenet_v3.py); later GhostNets change the ghost modules.
"""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from zoo.families.mobilenet_v1 import Config
from zoo.families.mobilenet_v3 import MobileNetV3, hard_gates
from zoo.layers.conv import conv
from zoo.layers.mbconv import Conv, MobileRow, gates
from zoo.layers.norm import Act, BatchNormAct2d
from zoo.layers.staged import Block, Layers
from zoo.layers.table import Style
from zoo.layers.width import Width, make_divisible
from zoo.registry import register


def conv_unit(
    dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1, act: Act = nn.Identity
) -> nn.Sequential:
    """Make conv -> batch norm -> (act). (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    return nn.Sequential(conv(dim_in, dim, kernel, stride, groups), BatchNormAct2d(dim, act))


class GhostModule(nn.Module):
    """Join half of the channels and the ghosts made of them. (B, dim_in, H, W) -> (B, dim, H, W)."""

    def __init__(self, primary: nn.Module, cheap: nn.Module):
        super().__init__()
        self.primary_conv, self.cheap_operation = primary, cheap

    def forward(self, x: Tensor) -> Tensor:
        y = self.primary_conv(x)
        return torch.cat([y, self.cheap_operation(y)], 1)


def halves(dim_in: int, dim: int, act: Act) -> tuple[nn.Module, nn.Module]:
    """Make a 1x1 conv and the depthwise conv of its output. (B, dim_in, H, W) -> (B, dim/2, H, W) each."""
    half = dim // 2  # all widths are multiples of 4
    return conv_unit(dim_in, half, 1, act=act), conv_unit(half, half, 3, groups=half, act=act)


@dataclass(frozen=True)
class Ghost(MobileRow):
    """A row of blocks of two ghost modules."""

    kernel: int = 3  # of the depthwise convs of the stride and of the shortcut
    hidden: int = 0  # channels between the two

    def expand(self, dim_in: int, act: Act) -> nn.Module:
        """Make the first ghost module. (B, dim_in, H, W) -> (B, hidden, H, W)."""
        return self.ghost(dim_in, self.hidden, act)

    def ghost(self, dim_in: int, dim: int, act: Act) -> nn.Module:
        """(B, dim_in, H, W) -> (B, dim, H, W)."""
        return GhostModule(*halves(dim_in, dim, act))

    def strided(self) -> Layers:
        """Make what halves the grid. (B, hidden, H, W) -> (B, hidden, H/2, W/2), rounded up."""
        dim = self.hidden
        return {"conv_dw": conv(dim, dim, self.kernel, 2, dim), "bn_dw": nn.BatchNorm2d(dim)}

    def layers(self, dim_in: int, stride: int, style: Style) -> Layers:
        """Make the layers of one branch. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
        return {
            "ghost1": self.expand(dim_in, style.act),
            **(self.strided() if stride > 1 else {}),
            "se": gates(dim_in, self.hidden, self, style),
            "ghost2": self.ghost(self.hidden, self.dim, nn.Identity),
        }

    def skip(self, dim_in: int, stride: int) -> nn.Module:
        """Make the shortcut. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
        if stride == 1 and dim_in == self.dim:
            return nn.Identity()
        depthwise = conv_unit(dim_in, dim_in, self.kernel, stride, dim_in)
        return nn.Sequential(*depthwise, *conv_unit(dim_in, self.dim, 1))

    def block(self, dim_in: int, stride: int, drop_path: float, style: Style) -> nn.Module:
        return Block(self.layers(dim_in, stride, style), self.skip(dim_in, stride), drop_path, nn.Identity())


class GhostNet(MobileNetV3):
    """Image (B, 3, H, W) -> features (B, C, H/32, W/32) -> hidden (B, num_features) -> logits (B, num_classes)."""

    def draw(self) -> None:
        """Leave the weights as PyTorch draws them."""


Stages = tuple[tuple[Ghost, ...], ...]
STYLE = Style(gates=hard_gates, gates_share="hidden", gates_width=partial(make_divisible, divisor=4))
STAGES: Stages = (
    (Ghost(16, hidden=16),),
    (Ghost(24, stride=2, hidden=48),),
    (Ghost(24, hidden=72),),
    (Ghost(40, stride=2, kernel=5, hidden=72, gates=0.25),),
    (Ghost(40, kernel=5, hidden=120, gates=0.25),),
    (Ghost(80, stride=2, hidden=240),),
    (
        Ghost(80, hidden=200),
        Ghost(80, depth=2, hidden=184),
        Ghost(112, hidden=480, gates=0.25),
        Ghost(112, hidden=672, gates=0.25),
    ),
    (Ghost(160, stride=2, kernel=5, hidden=672, gates=0.25),),
    2 * (Ghost(160, kernel=5, hidden=960), Ghost(160, kernel=5, hidden=960, gates=0.25)),
)


def of_kind(kind: type[Ghost], stages: Stages) -> Stages:
    """Make the same rows of another kind."""
    return tuple(tuple(kind(**vars(row)) for row in stage) for stage in stages)


def wide(times: float, stages: Stages = STAGES) -> Config:
    """Multiply all channels but those of the last conv."""
    width = Width(times, divisor=4)
    wider = (tuple(replace(row, dim=width(row.dim), hidden=width(row.hidden)) for row in stage) for stage in stages)
    return Config((*wider, (Conv(width(960), kernel=1),)), width(16), style=STYLE)


VARIANTS = {
    "ghostnet_050": wide(0.5),
    "ghostnet_100": wide(1.0),
    "ghostnet_130": wide(1.3),
}
register(GhostNet, VARIANTS)
