"""RepViT: a MobileNet-V3 rebuilt as a light vision transformer, which mixes positions first and channels after.

    image -> 2 3x3 convs (H/4) -> 4 stages of blocks, a halving before stages 2 to 4 -> mean -> norm -> fc
    block   -> 3x3 depthwise conv + 1x1 depthwise conv + x -> gates in every second block -> MLP -> + shortcut
    halving -> block without gates -> 3x3 depthwise conv (H/2) -> 1x1 conv -> MLP -> + shortcut

Wang et al. 2023, "RepViT: Revisiting Mobile CNN From ViT Perspective", arXiv:2307.09283. A block's branches become one
conv for inference. Two last layers, of which one learned from a teacher, are averaged.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from zoo import base
from zoo.base import CHANNEL_GATES, Backbone
from zoo.layers.channel_attention import gates_of
from zoo.layers.conv import conv, conv_norm, halvings, silent
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import DistilledHead
from zoo.layers.reparam import BranchSum, fold_branches
from zoo.probe import tap
from zoo.registry import register


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one RepViT from another."""

    dims: tuple[int, int, int, int]  # channels of each stage
    depths: tuple[int, int, int, int]  # blocks in each stage
    norm_last: bool = True  # a norm of a block's sum of branches; in the first release, one of the 1x1 branch instead


class TokenMixer(BranchSum):
    """3x3 depthwise conv + 1x1 depthwise conv + x -> (norm). (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, norm_last: bool):
        super().__init__()
        self.conv = conv_norm(dim, dim, 3, groups=dim)
        self.conv1 = conv(dim, dim, 1, groups=dim, bias=True) if norm_last else conv_norm(dim, dim, 1, groups=dim)
        self.bn = nn.BatchNorm2d(dim) if norm_last else nn.Identity()

    def branches(self) -> list[nn.Module]:
        return [self.conv, self.conv1, nn.Identity()]

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(super().forward(x))

    def folded(self) -> nn.Module:
        return nn.Sequential(fold_branches(self.branches()), self.bn)


def mlp(dim: int) -> nn.Sequential:
    """Make two 1x1 convs. (B, dim, H, W) -> (B, dim, H, W)."""
    back = silent(conv_norm(2 * dim, dim, 1))
    return nn.Sequential(OrderedDict(conv1=conv_norm(dim, 2 * dim, 1), act=nn.GELU(), conv2=back))


class Block(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, gated: bool, drop_path: float, cfg: Config):
        super().__init__()
        self.token_mixer, self.se = TokenMixer(dim, cfg.norm_last), gates_of(1 / 4)(dim) if gated else nn.Identity()
        self.channel_mixer, self.drop_path = mlp(dim), DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.se(self.token_mixer(x))
        return x + self.drop_path(self.channel_mixer(x))


class Halving(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/2, W/2), rounded up."""

    def __init__(self, dim_in: int, dim: int, drop_path: float, cfg: Config):
        super().__init__()
        self.pre_block = Block(dim_in, False, drop_path, cfg)
        self.spatial_downsample = conv_norm(dim_in, dim_in, 3, 2, dim_in)
        self.channel_downsample = conv_norm(dim_in, dim, 1)
        self.ffn, self.drop_path = mlp(dim), DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.channel_downsample(self.spatial_downsample(self.pre_block(x)))
        return x + self.drop_path(self.ffn(x))


class Stage(nn.Module):
    """Halve the grid (not before the first stage), then blocks. (B, C, H, W) -> (B, dims[i], H/2, W/2), rounded up."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        dim = cfg.dims[i]
        self.downsample = Halving(cfg.dims[i - 1], dim, drop_paths[0], cfg) if i else nn.Identity()
        self.blocks = nn.Sequential(*(Block(dim, j % 2 == 0, rate, cfg) for j, rate in enumerate(drop_paths)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class RepViT(Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "mean_norm"
    classifier_key = "head.head.l"
    no_attention = CHANNEL_GATES

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = cfg.dims[-1], cfg.num_classes
        self.stem = halvings(conv_norm, cfg.dims[0], 2, nn.GELU)
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.stages = nn.Sequential(*(Stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates)))
        self.head = DistilledHead(self.num_features, cfg.num_classes, cfg.drop)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")


VARIANTS = {
    "repvit_m1": Config((48, 96, 192, 384), (2, 2, 14, 2), norm_last=False),
    "repvit_m2": Config((64, 128, 256, 512), (2, 2, 12, 2), norm_last=False),
    "repvit_m3": Config((64, 128, 256, 512), (4, 4, 18, 2), norm_last=False),
    "repvit_m0_9": Config((48, 96, 192, 384), (2, 2, 14, 2)),
    "repvit_m1_0": Config((56, 112, 224, 448), (2, 2, 14, 2)),
    "repvit_m1_1": Config((64, 128, 256, 512), (2, 2, 12, 2)),
    "repvit_m1_5": Config((64, 128, 256, 512), (4, 4, 24, 4)),
    "repvit_m2_3": Config((80, 160, 320, 640), (6, 6, 34, 2)),
}
register(RepViT, VARIANTS)
