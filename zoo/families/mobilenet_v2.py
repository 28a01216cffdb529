"""MobileNet-V2: blocks that are narrow at their ends and wide inside, where a cheap depthwise conv mixes positions.

    image -> 3x3 conv -> 7 stages of blocks -> 1x1 conv to 1280 channels -> mean -> fc
    block -> 1x1 conv to 6 times the channels -> 3x3 depthwise conv -> 1x1 conv back, linear -> + shortcut

Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv:1801.04381. The numbers in names
are the width in percent; 110d and 120d are deeper too, and timm's own (Ross Wightman); the _cifar size is this
project's, for photos of 32x32. The blocks are in zoo/layers/mbconv.py, the table's notation in zoo/layers/table.py.
"""

from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, MeanReadout
from zoo.layers.conv import conv
from zoo.layers.head import classifier
from zoo.layers.mbconv import Inverted, Separable
from zoo.layers.norm import BatchNormAct2d
from zoo.layers.table import Table, scaled, trunk
from zoo.layers.width import make_divisible
from zoo.probe import tap
from zoo.registry import register

RELU6 = partial(nn.ReLU6, inplace=True)


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one MobileNet-V2 from another."""

    stages: Table  # of the blocks
    stem_dim: int = 32  # channels of the first conv
    stem_stride: int = 2  # of the first conv
    head_dim: int = 1280  # channels of the last conv


class MobileNetV2(MeanReadout):
    """Image (B, 3, H, W) -> features (B, head_dim, H/32, W/32) -> logits (B, num_classes)."""

    classifier_key = "classifier"
    no_attention = CONVOLUTIONS

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = cfg.head_dim, cfg.num_classes
        self.conv_stem = conv(3, cfg.stem_dim, 3, cfg.stem_stride)
        self.bn1 = BatchNormAct2d(cfg.stem_dim, RELU6)
        self.blocks = trunk(cfg.stem_dim, cfg.stages, cfg.drop_path, RELU6)
        self.conv_head = conv(cfg.stages[-1][-1].dim, cfg.head_dim, 1)
        self.bn2 = BatchNormAct2d(cfg.head_dim, RELU6)
        self.drop = nn.Dropout(cfg.drop)
        self.classifier = classifier(cfg.head_dim, cfg.num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv_stem(x))
        for i, stage in enumerate(self.blocks, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", self.bn2(self.conv_head(x)), "NCHW")


STAGES = (
    (Separable(16),),
    (Inverted(24, depth=2, stride=2),),
    (Inverted(32, depth=3, stride=2),),
    (Inverted(64, depth=4, stride=2),),
    (Inverted(96, depth=3),),
    (Inverted(160, depth=3, stride=2),),
    (Inverted(320),),
)
CIFAR_STAGES = (
    (Separable(16),),
    (Inverted(32, depth=3, stride=2, expand=3),),
    (Inverted(64, depth=4, stride=2, expand=4),),
    (Inverted(128, depth=4, stride=2, expand=4),),
)


def wide(width: float) -> Config:
    """The paper's width multiplier; the last conv never becomes narrower."""
    return Config(scaled(STAGES, width), make_divisible(32 * width), head_dim=max(1280, make_divisible(1280 * width)))


def deep(width: float, depth: float) -> Config:
    """Wider and deeper, except for the first and last stage."""
    return Config(scaled(STAGES, width, depth, keep_end_depths=True))


VARIANTS = {
    "mobilenetv2_035": wide(0.35),
    "mobilenetv2_050": wide(0.5),
    "mobilenetv2_075": wide(0.75),
    "mobilenetv2_100": wide(1.0),
    "mobilenetv2_110d": deep(1.1, 1.2),
    "mobilenetv2_120d": deep(1.2, 1.4),
    "mobilenetv2_140": wide(1.4),
    "mobilenetv2_cifar": Config(CIFAR_STAGES, stem_dim=16, stem_stride=1, head_dim=640, num_classes=10, img_size=32),
}
register(MobileNetV2, VARIANTS)
