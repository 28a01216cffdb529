"""EfficientNet: a small net found by search, whose depth, width and image size are scaled up together by one rule.

    image -> 3x3 conv, stride 2 -> 7 stages of blocks -> 1x1 conv -> mean -> fc
    block -> 1x1 conv to 6 times the channels -> depthwise conv -> gates: mean over the grid, two small layers
          -> 1x1 conv back, linear -> + shortcut

Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", arXiv:1905.11946; B8 and L2
came with the checkpoints of arXiv:1911.09665 (AdvProp) and arXiv:1911.04252 (Noisy Student). Lite is for phones that
do not support gates and SiLU: Google 2020, github.com/tensorflow/tpu. tf: trained in TensorFlow. The gn, g8, g16, blur
and test rows are timm's (Ross Wightman): other norms, 8 or 16 channels in each group of the depthwise convs, or a blur
where a block halves the grid (Zhang 2019, arXiv:1904.11486).
"""

import re
from dataclasses import replace
from functools import partial

from torch import nn

from zoo.families.mobilenet_v1 import RELU6, Config, MobileNet, tensorflow
from zoo.layers.adapt import Layout, State
from zoo.layers.mbconv import Conv, FusedInverted, Inverted, Separable
from zoo.layers.norm import EvoNorm2d, GroupNormAct2d, LayerNormAct2d
from zoo.layers.pool import BlurPool
from zoo.layers.table import Style, Table, scaled
from zoo.layers.width import Width
from zoo.registry import register

SILU = partial(nn.SiLU, inplace=True)
STYLE = Style(act=SILU)


def by_stage(state: State) -> State:
    """Number the blocks of an EfficientNet-PyTorch file within their stages; a stage ends where the channels change."""
    found = {int(key.split(".")[1]): len(value) for key, value in state.items() if "._project_conv." in key}
    places, stage, block = {}, -1, 0
    for number, dim in sorted(found.items()):
        stage, block = (stage, block + 1) if found.get(number - 1) == dim else (stage + 1, 0)
        places[str(number)] = f"blocks.{stage}.{block}"
    return {re.sub(r"^_blocks\.(\d+)", lambda match: places[match[1]], key): value for key, value in state.items()}


EFFICIENTNET_PYTORCH = Layout(
    marker=r"^_blocks\.0\._depthwise_conv\.",
    regrouped=by_stage,
    renamed=(
        (r"^_conv_(stem|head)\.", r"conv_\1."),
        (r"^_fc\.", "classifier."),
        (r"^_bn1\.", "bn2."),
        (r"^_bn0\.", "bn1."),
        (r"\._se_(reduce|expand)\.", r".se.conv_\1."),
        (r"\._expand_conv\.", ".conv_pw."),
        (r"\._depthwise_conv\.", ".conv_dw."),
        (r"^(blocks\.0\..+)\._project_conv\.", r"\1.conv_pw."),  # the first stage does not expand
        (r"^(blocks\.0\..+)\._bn", r"\1.bn"),
        (r"\._project_conv\.", ".conv_pwl."),
        (r"\._bn2\.", ".bn3."),
        (r"\._bn1\.", ".bn2."),
        (r"\._bn0\.", ".bn1."),
    ),
)


class EfficientNet(MobileNet):
    """Image (B, 3, H, W) -> features (B, head_dim, H/32, W/32) -> logits (B, num_classes)."""

    layouts = (EFFICIENTNET_PYTORCH,)


def stages(gates: float = 0.25) -> Table:
    """Table 1 of the paper."""
    return (
        (Separable(16, gates=gates),),
        (Inverted(24, depth=2, stride=2, gates=gates),),
        (Inverted(40, depth=2, stride=2, kernel=5, gates=gates),),
        (Inverted(80, depth=3, stride=2, gates=gates),),
        (Inverted(112, depth=3, kernel=5, gates=gates),),
        (Inverted(192, depth=4, stride=2, kernel=5, gates=gates),),
        (Inverted(320, gates=gates),),
    )


def compound(times: float, depth: float, style: Style = STYLE, divisor: int = 8) -> Config:
    """The paper's rule for width and depth; the image size is the checkpoint's."""
    width = Width(times, divisor)
    return Config(scaled(stages(), width, depth), width(32), head_dim=width(1280), style=style)


def lite(width: float, depth: float) -> Config:
    """No gates, ReLU6, and stem and head of fixed width."""
    return Config(scaled(stages(gates=0), width, depth, keep_end_depths=True), style=Style(act=RELU6))


B0 = compound(1.0, 1.0)
B1 = compound(1.0, 1.1)
B2 = compound(1.1, 1.2)
B3 = compound(1.2, 1.4)
B4 = compound(1.4, 1.8)
B5 = compound(1.6, 2.2)
B6 = compound(1.8, 2.6)
B7 = compound(2.0, 3.1)
B8 = compound(2.2, 3.6)
L2 = compound(4.3, 5.3)
LITE0 = lite(1.0, 1.0)
LITE1 = lite(1.0, 1.1)
LITE2 = lite(1.1, 1.2)
LITE3 = lite(1.2, 1.4)
LITE4 = lite(1.4, 1.8)
GN_STYLE = Style(act=SILU, norm=partial(GroupNormAct2d, width=8))
GN16_STYLE = Style(act=SILU, norm=partial(GroupNormAct2d, width=16))
BLUR_STYLE = Style(act=SILU, anti_alias=partial(BlurPool, "constant"))
TEST_STAGES = (
    (Conv(16, shortcut=True),),
    (FusedInverted(24, stride=2, expand=4),),
    (FusedInverted(32, stride=2, expand=4),),
    (Inverted(48, stride=2, expand=4, gates=0.25),),
    (Inverted(64, stride=2, expand=4, gates=0.25),),
)
TEST = Config(TEST_STAGES, stem_dim=24, head_dim=256, style=STYLE)

VARIANTS = {
    "efficientnet_b0": B0,
    "efficientnet_b0_gn": compound(1.0, 1.0, GN_STYLE),
    "efficientnet_b0_g8_gn": compound(1.0, 1.0, replace(GN_STYLE, group_width=8)),
    "efficientnet_b0_g16_evos": compound(1.0, 1.0, replace(STYLE, group_width=16), divisor=16),  # with batch norm
    "efficientnet_b1": B1,
    "efficientnet_b2": B2,
    "efficientnet_b3": B3,
    "efficientnet_b3_gn": compound(1.2, 1.4, GN16_STYLE, divisor=16),
    "efficientnet_b3_g8_gn": compound(1.2, 1.4, replace(GN16_STYLE, group_width=8), divisor=16),
    "efficientnet_b4": B4,
    "efficientnet_b5": B5,
    "efficientnet_b6": B6,
    "efficientnet_b7": B7,
    "efficientnet_b8": B8,
    "efficientnet_l2": L2,
    "efficientnet_blur_b0": compound(1.0, 1.0, BLUR_STYLE),
    "efficientnet_lite0": LITE0,
    "efficientnet_lite1": LITE1,
    "efficientnet_lite2": LITE2,
    "efficientnet_lite3": LITE3,
    "efficientnet_lite4": LITE4,
    "test_efficientnet": TEST,
    "test_efficientnet_evos": replace(TEST, style=replace(STYLE, norm=EvoNorm2d)),
    "test_efficientnet_gn": replace(TEST, style=GN_STYLE),
    "test_efficientnet_ln": replace(TEST, style=replace(STYLE, norm=LayerNormAct2d)),
    "tf_efficientnet_b0": tensorflow(B0),
    "tf_efficientnet_b1": tensorflow(B1),
    "tf_efficientnet_b2": tensorflow(B2),
    "tf_efficientnet_b3": tensorflow(B3),
    "tf_efficientnet_b4": tensorflow(B4),
    "tf_efficientnet_b5": tensorflow(B5),
    "tf_efficientnet_b6": tensorflow(B6),
    "tf_efficientnet_b7": tensorflow(B7),
    "tf_efficientnet_b8": tensorflow(B8),
    "tf_efficientnet_l2": tensorflow(L2),
    "tf_efficientnet_lite0": tensorflow(LITE0),
    "tf_efficientnet_lite1": tensorflow(LITE1),
    "tf_efficientnet_lite2": tensorflow(LITE2),
    "tf_efficientnet_lite3": tensorflow(LITE3),
    "tf_efficientnet_lite4": tensorflow(LITE4),
}
register(EfficientNet, VARIANTS)
