"""Inception-ResNet-V2: each cell of parallel branches is a residual branch, so its sum trains faster.

    image -> stem, as Inception-V3's (H/8) -> cell -> 10 A blocks -> reduction (H/16) -> 20 B blocks
    -> reduction (H/32) -> 10 C blocks -> 1x1 conv -> mean -> fc
    block -> cell -> 1x1 conv, times a small constant -> + shortcut -> relu (not in the last)

Szegedy et al. 2016, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
arXiv:1602.07261; the constant keeps training stable (section 3.3).
"""

from collections.abc import Mapping
from functools import partial

from torch import Tensor, nn

from zoo.base import Config
from zoo.families.inception_v3 import Inception, max_pool
from zoo.layers.branches import MAX, MEAN_INSIDE, Branches, Cell, Row
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.registry import register

A: Branches = {
    "branch0": [(32, 1)],
    "branch1.{}": [(32, 1), (32, 3)],
    "branch2.{}": [(32, 1), (48, 3), (64, 3)],
}
B: Branches = {"branch0": [(192, 1)], "branch1.{}": [(128, 1), (160, (1, 7)), (192, (7, 1))]}
C: Branches = {"branch0": [(192, 1)], "branch1.{}": [(192, 1), (224, (1, 3)), (256, (3, 1))]}
MIXED_5B: Branches = {
    "branch0": [(96, 1)],
    "branch1.{}": [(48, 1), (64, 5)],
    "branch2.{}": [(64, 1), (96, 3), (96, 3)],
    "branch3.{}": [MEAN_INSIDE, (64, 1)],
}
MIXED_6A: Branches = {
    "branch0": [(384, 3, 2)],
    "branch1.{}": [(256, 1), (256, 3), (384, 3, 2)],
    "branch2": [MAX],
}
MIXED_7A: Branches = {
    "branch0.{}": [(256, 1), (384, 3, 2)],
    "branch1.{}": [(256, 1), (288, 3, 2)],
    "branch2.{}": [(256, 1), (288, 3), (320, 3, 2)],
    "branch3": [MAX],
}


class Block(Cell):
    """(B, dim, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim: int, branches: Branches, scale: float, drop_path: float, act: bool = True):
        super().__init__(dim, branches)
        self.scale, self.act = scale, nn.ReLU(inplace=True) if act else nn.Identity()
        self.conv2d = nn.Conv2d(self.dim, dim, 1)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop_path(self.conv2d(super().forward(x)))
        return self.act(x.add(y, alpha=self.scale))


def stages(drop_path: float) -> tuple[Mapping[str, Row], ...]:
    a, b, (*c, last) = drop_path_rates(drop_path, (10, 20, 10))
    return (
        {"conv2d_1a": (32, 3, 2), "conv2d_2a": (32, 3, 1, 0), "conv2d_2b": (64, 3)},
        {"maxpool_3a": max_pool, "conv2d_3b": (80, 1), "conv2d_4a": (192, 3, 1, 0)},
        {"maxpool_5a": max_pool, "mixed_5b": MIXED_5B}
        | {f"repeat.{i}": partial(Block, branches=A, scale=0.17, drop_path=rate) for i, rate in enumerate(a)},
        {"mixed_6a": MIXED_6A}
        | {f"repeat_1.{i}": partial(Block, branches=B, scale=0.1, drop_path=rate) for i, rate in enumerate(b)},
        {"mixed_7a": MIXED_7A}
        | {f"repeat_2.{i}": partial(Block, branches=C, scale=0.2, drop_path=rate) for i, rate in enumerate(c)}
        | {
            "block8": partial(Block, branches=C, scale=1.0, drop_path=last, act=False),
            "conv2d_7b": (1536, 1),
        },
    )


class InceptionResNetV2(Inception):
    """Image (B, 3, H, W) -> features (B, 1536, H/32, W/32) -> logits (B, num_classes)."""

    classifier_key = "classif"

    def __init__(self, cfg: Config):
        super().__init__(cfg, stages(cfg.drop_path))


VARIANTS = {"inception_resnet_v2": Config()}
register(InceptionResNetV2, VARIANTS)
