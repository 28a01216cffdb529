"""SelecSLS: convs whose outputs are joined at a block's end, and a stage's first output again in all its blocks.

    image -> 3x3 conv (H/2) -> 3 stages of blocks, the first block of each halves the grid (H/16) -> 4 convs, two of
    which halve it (H/64) -> mean -> fc
    block -> 3x3 conv -> 1x1, 3x3 conv -> 1x1, 3x3 conv -> 1x1 conv of these three and the first block's output

Mehta et al. 2019, "XNect: Real-time Multi-Person 3D Motion Capture with a Single RGB Camera", arXiv:1907.00837: short
and long shortcuts as concatenations, selected for speed. The number in a name counts the convs; b: the last two convs
have each other's channels.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, MeanReadout
from zoo.layers.conv import conv_relu
from zoo.layers.drop import refuse_drop_path
from zoo.layers.head import classifier
from zoo.layers.init import init_fan_out
from zoo.probe import tap
from zoo.registry import register


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one SelecSLS from another."""

    stages: tuple[tuple[int, int, int], ...]  # channels of all blocks but the last, blocks, channels of the last
    head: tuple[tuple[int, int, int], ...]  # channels, kernel and stride of each of the last convs


class Block(nn.Module):
    """Convs, whose outputs are joined. (B, dim_in, H, W), (B, waiting, ...) -> (B, dim, H/stride, W/stride).

    The grid is rounded up. A stage's first block reads nothing that waits, and has the stride.
    """

    def __init__(self, dim_in: int, inner: int, dim: int, waiting: int, stride: int):
        super().__init__()
        half = inner // 2
        self.conv1 = conv_relu(dim_in, inner, 3, stride)
        self.conv2, self.conv3 = conv_relu(inner, inner, 1), conv_relu(inner, half, 3)
        self.conv4, self.conv5 = conv_relu(half, inner, 1), conv_relu(inner, half, 3)
        self.conv6 = conv_relu(2 * inner + waiting, dim, 1)

    def forward(self, x: Tensor, *waiting: Tensor) -> Tensor:
        one = self.conv1(x)
        two = self.conv3(self.conv2(one))
        three = self.conv5(self.conv4(two))
        return self.conv6(torch.cat([one, two, three, *waiting], 1))


class SelecSLS(MeanReadout):
    """Image (B, 3, H, W) -> features (B, num_features, H/64, W/64), rounded up -> logits (B, num_classes)."""

    classifier_key = "fc"
    no_attention = CONVOLUTIONS

    def __init__(self, cfg: Config):
        refuse_drop_path(cfg.drop_path)
        super().__init__()
        dim = 32
        self.stem, self.features, self.head = conv_relu(3, dim, 3, 2), nn.ModuleList(), nn.Sequential()
        self.depths = [depth for _, depth, _ in cfg.stages]
        for inner, depth, last in cfg.stages:
            for i in range(depth):
                out, waiting, stride = last if i == depth - 1 else inner, inner if i else 0, 1 if i else 2
                self.features.append(Block(dim, inner, out, waiting, stride))
                dim = out
        for out, kernel, stride in cfg.head:
            self.head.append(conv_relu(dim, out, kernel, stride))
            dim = out
        self.drop = nn.Dropout(cfg.drop)
        self.fc = classifier(dim, cfg.num_classes)
        self.num_features, self.num_classes = dim, cfg.num_classes
        self.apply(init_fan_out)

    def forward_features(self, x: Tensor) -> Tensor:
        x, blocks = self.stem(x), iter(self.features)
        for i, depth in enumerate(self.depths, 1):
            x = first = next(blocks)(x)
            for _ in range(depth - 1):
                x = next(blocks)(x, first)
            x = tap(f"stage{i}", x, "NCHW")
        return tap("cam", self.head(x), "NCHW")


HEAD42 = (960, 3, 2), (1024, 3, 1), (1024, 3, 2), (1280, 1, 1)
HEAD60 = (756, 3, 2), (1024, 3, 1), (1024, 3, 2), (1280, 1, 1)
HEAD84 = (960, 3, 2), (1024, 3, 1), (1024, 3, 2), (1280, 3, 1)
LAST_B = (1280, 3, 2), (1024, 1, 1)
SLS42 = Config(((64, 2, 128), (144, 2, 288), (304, 2, 480)), HEAD42)
SLS60 = Config(((64, 2, 128), (128, 3, 288), (288, 4, 416)), HEAD60)

VARIANTS = {
    "selecsls42": SLS42,
    "selecsls42b": replace(SLS42, head=HEAD42[:2] + LAST_B),
    "selecsls60": SLS60,
    "selecsls60b": replace(SLS60, head=HEAD60[:2] + LAST_B),
    "selecsls84": Config(((64, 2, 144), (144, 5, 304), (304, 6, 512)), HEAD84),
}
register(SelecSLS, VARIANTS)
