"""MobileNet-V3: MobileNet-V2's blocks in the arrangement that a search found fast on phones, with gates.

    image -> 3x3 conv, stride 2 -> stages of blocks -> 1x1 conv -> mean -> 1x1 conv -> fc
    block -> 1x1 conv -> depthwise conv -> gates: mean over the grid, two small layers -> 1x1 conv -> + shortcut

The last conv comes after the mean, where it works on one cell instead of a grid. The activation is hard swish,
x * relu6(x + 3) / 6, in the second half. Howard et al. 2019, "Searching for MobileNetV3", arXiv:1905.02244. minimal:
without gates, 5x5 kernels and hard swish. tf: trained in TensorFlow. rw and 150d are timm's (Ross Wightman).
"""

from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from zoo.families.mobilenet_v1 import Config, MobileNet, tensorflow
from zoo.layers.channel_attention import Gates
from zoo.layers.mbconv import Conv, Inverted, Separable
from zoo.layers.norm import Act
from zoo.layers.table import PLAIN, RELU, TF_NORM, Style, Table, scaled
from zoo.layers.width import make_divisible
from zoo.probe import tap
from zoo.registry import register


class MobileNetV3(MobileNet):
    """Image (B, 3, H, W) -> features (B, C, H/32, W/32) -> hidden (B, num_features) -> logits (B, num_classes)."""

    def make_head(self, dim: int, cfg: Config) -> None:
        style, normed = cfg.style, cfg.head == "norm"
        self.conv_head = nn.Conv2d(dim, cfg.head_dim, 1, bias=cfg.head == "bias")
        self.norm_head = style.norm(cfg.head_dim, style.act) if normed else nn.Identity()
        self.act2 = nn.Identity() if normed else style.act()

    def forward_features(self, x: Tensor) -> Tensor:
        return tap("cam", self.forward_stages(x), "NCHW")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.conv_head(x.mean((2, 3), keepdim=True))
        x = self.drop(self.act2(self.norm_head(x)).flatten(1))
        return x if pre_logits else self.classifier(x)


HARD_SWISH = partial(nn.Hardswish, inplace=True)
HARD_SIGMOID = partial(nn.Hardsigmoid, inplace=True)


def hard_gates(dim: int, hidden: int, act: Act) -> Gates:
    """Make the paper's gates: a ReLU inside, whatever the block's activation, and a hard sigmoid."""
    return Gates(dim, hidden, RELU, HARD_SIGMOID)


STYLE = Style(act=HARD_SWISH, gates=hard_gates, gates_share="hidden", gates_width=make_divisible)


def large_stages(kernel: int = 5, gates: float = 0.25) -> Table:
    """Table 1 of the paper."""
    return (
        (Separable(16, act=RELU),),
        (Inverted(24, stride=2, expand=4, act=RELU), Inverted(24, expand=3, act=RELU)),
        (Inverted(40, depth=3, stride=2, kernel=kernel, expand=3, gates=gates, act=RELU),),
        (Inverted(80, stride=2), Inverted(80, expand=2.5), Inverted(80, depth=2, expand=2.3)),
        (Inverted(112, depth=2, gates=gates),),
        (Inverted(160, depth=3, stride=2, kernel=kernel, gates=gates),),
        (Conv(960, kernel=1),),
    )


def small_stages(kernel: int = 5, gates: float = 0.25) -> Table:
    """Table 2 of the paper."""
    return (
        (Separable(16, stride=2, gates=gates, act=RELU),),
        (Inverted(24, stride=2, expand=4.5, act=RELU), Inverted(24, expand=3.67, act=RELU)),
        (
            Inverted(40, stride=2, kernel=kernel, expand=4, gates=gates),
            Inverted(40, depth=2, kernel=kernel, gates=gates),
        ),
        (Inverted(48, depth=2, kernel=kernel, expand=3, gates=gates),),
        (Inverted(96, depth=3, stride=2, kernel=kernel, gates=gates),),
        (Conv(576, kernel=1),),
    )


LARGE = Config(large_stages(), stem_dim=16, head_dim=1280, style=STYLE)
SMALL = Config(small_stages(), stem_dim=16, head_dim=1024, style=STYLE)
LARGE_075 = replace(LARGE, stages=scaled(large_stages(), 0.75))
SMALL_050 = replace(SMALL, stages=scaled(small_stages(), 0.5))
SMALL_075 = replace(SMALL, stages=scaled(small_stages(), 0.75))
LARGE_MINIMAL = replace(LARGE, stages=large_stages(3, 0), style=PLAIN)
SMALL_MINIMAL = replace(SMALL, stages=small_stages(3, 0), style=PLAIN)
RW_STYLE = Style(act=HARD_SWISH, norm=TF_NORM, gates=partial(Gates, squash=HARD_SIGMOID), gates_share="hidden")
RW_STAGES = ((Separable(16, act=RELU, shortcut=False),), *large_stages()[1:])

VARIANTS = {
    "mobilenetv3_large_075": LARGE_075,
    "mobilenetv3_large_100": LARGE,
    "mobilenetv3_large_150d": replace(LARGE, stages=scaled(large_stages(), 1.5, 1.2), stem_dim=24),
    "mobilenetv3_rw": replace(LARGE, stages=RW_STAGES, head="plain", style=RW_STYLE),
    "mobilenetv3_small_050": SMALL_050,
    "mobilenetv3_small_075": SMALL_075,
    "mobilenetv3_small_100": SMALL,
    "tf_mobilenetv3_large_075": tensorflow(LARGE_075),
    "tf_mobilenetv3_large_100": tensorflow(LARGE),
    "tf_mobilenetv3_large_minimal_100": tensorflow(LARGE_MINIMAL),
    "tf_mobilenetv3_small_075": tensorflow(SMALL_075),
    "tf_mobilenetv3_small_100": tensorflow(SMALL),
    "tf_mobilenetv3_small_minimal_100": tensorflow(SMALL_MINIMAL),
}
register(MobileNetV3, VARIANTS)
