"""PP-LCNetV2: LCNet whose late depthwise convs are trained with kernels of several sizes and run with the largest.

    image -> 3x3 conv, stride 2, block -> 4 stages of blocks, each halves the grid -> mean -> 1x1 conv -> fc
    block -> 3x3 depthwise conv -> 1x1 conv
    stages 3 and 4 -> 5x5, 3x3 and, where the grid stays, 1x1 depthwise convs, added, in place of the 3x3 one
    stage 3 -> gates (mean over the grid, two small layers) before two 1x1 convs, half as wide between them
    stage 4 -> + shortcut where the grid stays

The branches are linear, so their sum folds into one convolution (zoo/layers/reparam.py). PaddlePaddle 2022,
"PP-LCNetV2", in the documentation of PaddleClas; the ssld checkpoint learned from a larger net's outputs, Cui et al.
2021, arXiv:2103.05959.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from zoo import base
from zoo.base import CHANNEL_GATES, MeanReadout
from zoo.layers.channel_attention import SqueezeExcite
from zoo.layers.conv import ConvNorm, conv
from zoo.layers.drop import DropPath
from zoo.layers.head import classifier
from zoo.layers.init import init_fan_out
from zoo.layers.reparam import BranchSum
from zoo.layers.table import PLAIN, RELU, Row, Style, trunk
from zoo.layers.width import Width
from zoo.probe import tap
from zoo.registry import register

HIDDEN = 1280  # channels between the mean and the last layer


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one PP-LCNetV2 from another."""

    width: float  # multiplies all channels but those of the last conv
    depth: int  # blocks in the third stage


class Branches(BranchSum, nn.ModuleList):
    """Depthwise convs with kernels of several sizes, added. (B, C, H, W) -> (B, C, H/stride, W/stride), rounded up."""

    def __init__(self, dim: int, stride: int):
        kernels = (5, 3, 1) if stride == 1 else (5, 3)
        super().__init__(ConvNorm(dim, dim, kernel, stride, dim) for kernel in kernels)

    def branches(self) -> list[nn.Module]:
        return [*self]


class Residual(nn.Sequential):
    """layers in sequence, + shortcut. (B, C, H, W) -> (B, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        return input + super().forward(input)


@dataclass(frozen=True)
class Separable(Row):
    """A row of blocks, each a depthwise conv and a 1x1 conv."""

    branched: bool = False  # several kernels in place of a 3x3 one
    gated: bool = False  # gates between the two, and two 1x1 convs
    shortcut: bool = False  # if the shapes agree

    def block(self, dim_in: int, stride: int, drop_path: float, style: Style) -> nn.Module:
        dim, act = self.dim, style.act
        layers: dict[str, nn.Module] = {"dw_conv": ConvNorm(dim_in, dim_in, 3, stride, dim_in, act)}
        if self.branched:
            layers = {"dw_conv_list": Branches(dim_in, stride), "dw_act": act()}
        pointwise = ConvNorm(dim_in, dim, 1, act=act)
        if self.gated:
            layers["se"] = SqueezeExcite(dim_in, dim_in // 4, act)
            pointwise = nn.Sequential(ConvNorm(dim_in, dim // 2, 1, act=act), ConvNorm(dim // 2, dim, 1, act=act))
        layers["pw_conv"] = pointwise
        if self.shortcut and stride == 1 and dim_in == dim:
            return Residual(OrderedDict(layers, drop_path=DropPath(drop_path)))
        return nn.Sequential(OrderedDict(layers))


class LCNetV2(MeanReadout):
    """Image (B, 3, H, W) -> features (B, C, H/32, W/32) -> hidden (B, num_features) -> logits (B, num_classes)."""

    no_attention = CHANNEL_GATES
    classifier_key = "classifier"
    num_features = HIDDEN

    def __init__(self, cfg: Config):
        super().__init__()
        wide = Width(cfg.width)
        table = (
            (Separable(wide(128), 2, 2),),
            (Separable(wide(256), 2, 2),),
            (Separable(wide(512), cfg.depth, 2, branched=True, gated=True),),
            (Separable(wide(1024), 2, 2, branched=True, shortcut=True),),
        )
        self.num_classes = cfg.num_classes
        self.stem = nn.Sequential(
            ConvNorm(3, wide(32), 3, 2, act=RELU), Separable(wide(64)).block(wide(32), 1, 0.0, PLAIN)
        )
        self.stages = trunk(wide(64), table, cfg.drop_path, PLAIN)
        self.conv_head, self.act2 = conv(wide(1024), HIDDEN, 1), RELU()
        self.drop = nn.Dropout(cfg.drop)
        self.classifier = classifier(HIDDEN, cfg.num_classes)
        self.apply(init)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.drop(self.act2(self.conv_head(x.mean((2, 3), keepdim=True))).flatten(1))
        return x if pre_logits else self.classifier(x)


def init(module: nn.Module) -> None:
    """Draw a convolution's weights; start every bias at zero."""
    init_fan_out(module)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


VARIANTS = {
    "lcnetv2_small": Config(0.75, 4),
    "lcnetv2_base": Config(1.0, 6),
    "lcnetv2_large": Config(1.25, 8),
}
register(LCNetV2, VARIANTS)
