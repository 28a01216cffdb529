"""MobileNet: a convolution in two steps, a depthwise one within each channel and a 1x1 one that mixes the channels.

    image -> 3x3 conv, stride 2 -> 5 stages of blocks -> (1x1 conv) -> mean -> fc
    block -> 3x3 depthwise conv -> 1x1 conv, each with batch norm and ReLU6

Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
arXiv:1704.04861. The number in a name is the width in percent; the last 1x1 conv of 100h is timm's (Ross Wightman).
The families from here to EfficientNet share this model: they differ in the table of blocks (zoo/layers/table.py and
mbconv.py) and in its Style.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeVar

from torch import Tensor, nn

from zoo import base
from zoo.base import CHANNEL_GATES, CONVOLUTIONS, MeanReadout
from zoo.layers.conv import same_conv
from zoo.layers.head import classifier
from zoo.layers.init import init_mobile
from zoo.layers.mbconv import MobileRow, Separable
from zoo.layers.table import PLAIN, TF_NORM, Style, Table, scaled, trunk
from zoo.layers.width import Width
from zoo.probe import tap
from zoo.registry import register


@dataclass(frozen=True)
class Config(base.Config):
    """What distinguishes the nets from MobileNet to EfficientNet."""

    stages: Table  # of the blocks
    stem_dim: int = 32  # channels of the first conv
    stem_kernel: int = 3  # of the first conv
    stem_stride: int = 2  # of the first conv
    head_dim: int = 1280  # channels of the last conv; 0: no such conv
    head: Literal["bias", "plain", "norm"] = "bias"  # a bias, a norm or neither for a last conv after the mean
    style: Style = PLAIN  # of the blocks, the stem and the head


C = TypeVar("C", bound=Config)


def tensorflow(cfg: C) -> C:
    """The same net with TensorFlow's padding and batch norm epsilon, for weights trained there."""
    return replace(cfg, style=replace(cfg.style, conv=same_conv, norm=TF_NORM))


class MobileNet(MeanReadout):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32) -> logits (B, num_classes)."""

    classifier_key = "classifier"

    def __init__(self, cfg: Config):
        super().__init__()
        rows = [row for stage in cfg.stages for row in stage]
        mobile = [row for row in rows if isinstance(row, MobileRow)]
        if not any(row.attends for row in mobile):
            self.no_attention = CHANNEL_GATES if any(row.gates for row in mobile) else CONVOLUTIONS
        style = cfg.style
        self.conv_stem = style.conv(3, cfg.stem_dim, cfg.stem_kernel, cfg.stem_stride)
        self.bn1 = style.norm(cfg.stem_dim, style.act)
        self.blocks = trunk(cfg.stem_dim, cfg.stages, cfg.drop_path, style)
        self.num_features, self.num_classes = cfg.head_dim or rows[-1].dim, cfg.num_classes
        self.make_head(rows[-1].dim, cfg)
        self.drop = nn.Dropout(cfg.drop)
        self.classifier = classifier(self.num_features, cfg.num_classes)
        self.draw()

    def draw(self) -> None:
        """Draw random weights."""
        self.apply(init_mobile)

    def make_head(self, dim: int, cfg: Config) -> None:
        """Make the layers between the blocks, which end in `dim` channels, and the classifier."""
        self.conv_head = cfg.style.conv(dim, cfg.head_dim, 1) if cfg.head_dim else nn.Identity()
        self.bn2 = cfg.style.norm(cfg.head_dim, cfg.style.act) if cfg.head_dim else nn.Identity()

    def forward_stages(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H/32, W/32), before the head."""
        x = self.bn1(self.conv_stem(x))
        for i, stage in enumerate(self.blocks, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return x

    def forward_features(self, x: Tensor) -> Tensor:
        return tap("cam", self.bn2(self.conv_head(self.forward_stages(x))), "NCHW")


RELU6 = partial(nn.ReLU6, inplace=True)
both = partial(Separable, linear=False, shortcut=False)  # an activation after each of the two convs
STAGES = (
    (both(64),),
    (both(128, depth=2, stride=2),),
    (both(256, depth=2, stride=2),),
    (both(512, depth=6, stride=2),),
    (both(1024, depth=2, stride=2),),
)
MOBILENET = Config(STAGES, head_dim=0, style=Style(act=RELU6))

VARIANTS = {
    "mobilenetv1_100": MOBILENET,
    "mobilenetv1_100h": replace(MOBILENET, head_dim=1024),
    "mobilenetv1_125": replace(MOBILENET, stages=scaled(STAGES, 1.25), stem_dim=Width(1.25)(32)),
}
register(MobileNet, VARIANTS)
