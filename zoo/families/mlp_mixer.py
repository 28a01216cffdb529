"""MLP-Mixer: no convolution, no attention; one MLP mixes positions, channel by channel, another mixes channels.

    image -> 16x16 patches -> blocks -> norm -> mean -> fc
    block -> norm -> MLP along the tokens -> + shortcut -> norm -> MLP along the channels -> + shortcut

Tolstikhin et al. 2021, "MLP-Mixer: An all-MLP Architecture for Vision", arXiv:2105.01601. The gmixer variants, with
gated MLPs, are timm's own (Ross Wightman). Its token MLP has weights for every position, so it takes one size only.
Other families share this model: they differ in the block.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isqrt
from typing import Any, ClassVar

from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.drop import DropPath
from zoo.layers.embed import PatchEmbed
from zoo.layers.head import classifier
from zoo.layers.init import init_glorot
from zoo.layers.mlp import GluMlp, Mlp
from zoo.layers.norm import LayerNorm
from zoo.probe import Grid, tap
from zoo.registry import register


@dataclass(frozen=True, kw_only=True)
class SizeConfig(base.Config):
    """What tells apart nets of the same block."""

    patch: int  # side of a patch in pixels
    depth: int  # blocks
    dim: int  # channels
    img_size: int = 224  # side of the only image that it takes


@dataclass(frozen=True, kw_only=True)
class Config(SizeConfig):
    """What tells one Mixer from another."""

    mlp_ratio: tuple[float, float] = (0.5, 4.0)  # hidden units of the token and of the channel MLP, over dim
    mlp: Callable[[int, int], nn.Module] = Mlp  # both MLPs: width, hidden units


class Block(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, tokens: int, cfg: Config):
        super().__init__()
        hidden_tokens, hidden_channels = (int(ratio * cfg.dim) for ratio in cfg.mlp_ratio)
        self.norm1 = LayerNorm(cfg.dim)
        self.mlp_tokens = cfg.mlp(tokens, hidden_tokens)
        self.norm2 = LayerNorm(cfg.dim)
        self.mlp_channels = cfg.mlp(cfg.dim, hidden_channels)
        self.drop_path = DropPath(cfg.drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.mlp_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2))
        return x + self.drop_path(self.mlp_channels(self.norm2(x)))


class MlpMixer(Backbone):
    """Image (B, 3, img_size, img_size) -> features (B, N, dim) -> logits (B, num_classes)."""

    readout = "norm_mean"
    classifier_key = "head"
    only_size = True
    no_attention = "it mixes positions by MLPs whose weights are the same for every image"
    # What another family replaces: the block, given tokens and config; the last norm; what draws random weights; and
    # the layer of a block whose inputs are the tokens.
    block: ClassVar[type[nn.Module]] = Block
    last_norm: ClassVar[type[nn.Module]] = LayerNorm
    draw = staticmethod(init_glorot)
    along_tokens: ClassVar[str] = "mlp_tokens.fc1"

    def __init__(self, cfg: SizeConfig):
        super().__init__()
        self.num_features, self.num_classes, self.img_size = cfg.dim, cfg.num_classes, cfg.img_size
        side = cfg.img_size // cfg.patch
        self.grid = Grid(0, side, side)
        self.stem = PatchEmbed(cfg.patch, cfg.dim)
        self.blocks = nn.Sequential(*(self.block(self.grid.tokens, cfg) for _ in range(cfg.depth)))
        self.norm = self.last_norm(cfg.dim)
        self.head_drop = nn.Dropout(cfg.drop)
        self.head = classifier(cfg.dim, cfg.num_classes)
        self.apply(self.draw)

    @classmethod
    def fit(cls, cfg: SizeConfig, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from the number of tokens, the (square) image's size."""
        fitted = super().fit(cfg, state_dict)
        weight = state_dict.get(f"blocks.0.{cls.along_tokens}.weight")
        return fitted if weight is None else fitted | {"img_size": cfg.patch * isqrt(weight.shape[1])}

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        for i, block in enumerate(self.blocks, 1):
            x = tap(f"stage{i}", block(x), "NLC", self.grid)
        return tap("cam", self.norm(x), "NLC", self.grid)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.head_drop(x.mean(1))
        return x if pre_logits else self.head(x)


GMIXER = Config(patch=16, depth=12, dim=384, mlp_ratio=(1.0, 4.0), mlp=GluMlp)

VARIANTS = {
    "mixer_s32_224": Config(patch=32, depth=8, dim=512),
    "mixer_s16_224": Config(patch=16, depth=8, dim=512),
    "mixer_b32_224": Config(patch=32, depth=12, dim=768),
    "mixer_b16_224": Config(patch=16, depth=12, dim=768),
    "mixer_l32_224": Config(patch=32, depth=24, dim=1024),
    "mixer_l16_224": Config(patch=16, depth=24, dim=1024),
    "gmixer_12_224": GMIXER,
    "gmixer_24_224": replace(GMIXER, depth=24),
    "mixer_cifar": Config(patch=4, depth=6, dim=128, img_size=32, num_classes=10),
}
register(MlpMixer, VARIANTS)
