"""MobileNet-V5: MobileNet-V4's blocks grown to 300 million parameters, to see for a language model that runs on phones.

    image -> 3x3 conv of step 2 -> 4 stages of blocks
    stages 3 and 4 -> both on the grid of stage 3 -> two 1x1 convs -> 16x16 -> norm -> mean -> fc
    blocks of stages 3 and 4 -> attention whose heads share keys and values, and two 1x1 convs, in turn

Google 2025: the image encoder of Gemma 3n. It has no paper; the blocks are MobileNet-V4's, arXiv:2404.10518. The
encoder alone (enc), padded as in TensorFlow, gives its 16x16 vectors as the language model reads them, as 256 tokens.
"""

from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.conv import same_conv
from zoo.layers.head import classifier
from zoo.layers.mbconv import FusedInverted, StyledConv, Universal
from zoo.layers.mobile_attention import MultiQuery
from zoo.layers.norm import RmsNormAct2d
from zoo.layers.table import Style, Table, trunk
from zoo.probe import tap
from zoo.registry import register

STEM, FUSED = 64, 2048  # channels of the first conv and of what the stages are fused to
SIDE = 16  # rows, and columns, of the grid that they are fused on, whatever the image
STYLE = Style(act=partial(nn.GELU, "tanh"), norm=RmsNormAct2d, layer_scale=1e-5)


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """What tells one MobileNet-V5 from another."""

    stages: Table  # of the blocks
    style: Style = STYLE  # what the convs and norms of stem and blocks are like
    pooled: bool = True  # the features of a model without classes are the mean over the grid; False: the grid


class Fusion(nn.Module):
    """Two stages as one list of channels. (B, C, H, W), (B, D, h, w) -> (B, FUSED, SIDE, SIDE)."""

    def __init__(self, dim_in: int, style: Style):
        super().__init__()
        row = Universal(FUSED, kernel=0, expand=2, shortcut=False)
        self.ffn = row.block(dim_in, 1, 0.0, replace(style, layer_scale=None))
        self.norm = style.norm(FUSED)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        height, width = fine.shape[2:]
        x = self.ffn(torch.cat([fine, F.interpolate(coarse, (height, width))], 1))
        if height % SIDE or width % SIDE:
            x = F.interpolate(x, (SIDE, SIDE), mode="bilinear")
        else:
            x = F.avg_pool2d(x, (height // SIDE, width // SIDE))
        return self.norm(x)


class MobileNetV5(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, 16, 16) -> logits (B, num_classes)."""

    readout = "norm_mean"
    classifier_key = "classifier"
    no_rollout = "its head reads two stages side by side, and the second is made from the first"

    def __init__(self, cfg: Config):
        super().__init__()
        style, dims = cfg.style, [stage[-1].dim for stage in cfg.stages]
        self.num_features, self.num_classes, self.pooled = FUSED, cfg.num_classes, cfg.pooled
        stem = style.conv(3, STEM, 3, 2, bias=True)
        self.conv_stem = StyledConv(stem, style.norm(STEM, style.act), nn.Identity())
        self.blocks = trunk(STEM, cfg.stages, cfg.drop_path, style)
        self.msfa = Fusion(dims[-2] + dims[-1], style)
        self.drop = nn.Dropout(cfg.drop)
        self.classifier = classifier(FUSED, cfg.num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        found = [self.conv_stem(x)]
        for i, stage in enumerate(self.blocks, 1):
            found.append(tap(f"stage{i}", stage(found[-1]), "NCHW"))
        return tap("cam", self.msfa(found[-2], found[-1]), "NCHW")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if not (self.pooled or self.num_classes):
            return x
        x = self.drop(x.mean((2, 3)))
        return x if pre_logits else self.classifier(x)


START = (
    (FusedInverted(128, depth=3, stride=2, expand=4),),
    (
        Universal(256, stride=2, start=3, kernel=5, expand=6),
        *(Universal(256, start=5, kernel=0), Universal(256, start=3, kernel=0)) * 2,
    ),
)
BASE = Config(
    stages=(
        *START,
        (
            Universal(512, stride=2, start=5, kernel=5, expand=6),
            Universal(512, depth=2, start=5, kernel=0),
            Universal(512, kernel=0, expand=1),
            *(MultiQuery(512), Universal(512, kernel=0, expand=2)) * 6,
        ),
        (
            Universal(1024, stride=2, start=5, kernel=5, expand=6),
            *(MultiQuery(1024, num_heads=16), Universal(1024, kernel=0, expand=2)) * 7,
        ),
    )
)
LARGE = Config(
    stages=(
        *START,
        (
            Universal(640, stride=2, start=5, kernel=5, expand=6),
            Universal(640, depth=7, start=5, kernel=0),
            Universal(640, kernel=0, expand=1),
            *(MultiQuery(640, num_heads=12, key_stride=2), Universal(640, kernel=0, expand=2)) * 14,
        ),
        (
            Universal(1280, stride=2, start=5, kernel=5, expand=6),
            *(MultiQuery(1280, num_heads=16, head_dim=96), Universal(1280, kernel=0, expand=2)) * 19,
        ),
    ),
    num_classes=0,
)

VARIANTS = {
    "mobilenetv5_300m": LARGE,
    "mobilenetv5_300m_enc": replace(LARGE, style=replace(STYLE, conv=same_conv), pooled=False),
    "mobilenetv5_base": BASE,
}
register(MobileNetV5, VARIANTS)
