"""FastViT: a mobile net of branches that fold into single convolutions; only some sizes end in an attention stage.

    image -> 3 convolutions (H/4) -> 4 stages of blocks, the grid halved before stages 2 to 4
    -> 3x3 depthwise conv to twice the channels, gates -> mean -> fc
    block     -> x + gamma * (3x3 depthwise conv - norm) -> 7x7 depthwise conv, wide MLP -> gamma -> + shortcut
    attention -> norm -> attention -> gamma -> + shortcut in place of the first step; sizes sa, ma: in the last stage

The convolutions of the stem, of a block's first step, between stages and at the end are sums of branches
(zoo/layers/reparam.py). The first step is linear: with its shortcut it folds into one depthwise conv. Vasu et al. 2023,
"FastViT: A Fast Hybrid Vision Transformer using Structural Reparameterization", arXiv:2303.14189. Large with small
kernels: Ding et al. 2022, RepLKNet, arXiv:2203.06717. Positions from a convolution: Chu et al. 2021, arXiv:2102.10882.
"""

import re
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import CHANNEL_GATES, Backbone
from zoo.layers.adapt import Layout
from zoo.layers.attention import SelfAttention
from zoo.layers.channel_attention import SqueezeExcite
from zoo.layers.conv import ConvNorm
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import ClassifierHead
from zoo.layers.init import init_linear
from zoo.layers.mlp import Mlp
from zoo.layers.reparam import BranchSum, RepConv, affine, fold_branches, identity, widen, with_weights
from zoo.probe import Grid, tap
from zoo.registry import register

HEAD_DIM = 32
GAMMA = 1e-5  # initial scale of each step of a block
TOWER = Layout(marker=r"^image_encoder\.model\.", under=r"image_encoder\.model\.")  # MobileCLIP's own files
APPLE = Layout(
    marker=r"^patch_embed\.0\.rbr_conv\.",
    projection=r"^head\.proj$",
    renamed=(
        (r"^patch_embed\.", "stem."),
        (r"^conv_exp\.", "final_conv."),
        (r"^head\.", "head.fc."),
        (r"\.rbr_conv\.", ".conv_kxk."),
        (r"\.rbr_scale\.", ".conv_scale."),
        (r"\.rbr_skip\.", ".identity."),
        (r"\.lkb_origin\.", ".large_conv."),
        (r"\.convffn\.", ".mlp."),
        (r"\.se\.reduce\.", ".se.fc1."),
        (r"\.se\.expand\.", ".se.fc2."),
        (r"\.(layer_scale(_\d)?)$", r".\1.gamma"),
    ),
)


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one FastViT from another."""

    depths: tuple[int, ...] = (2, 2, 6, 2)  # blocks in each stage
    dims: tuple[int, ...] = (64, 128, 256, 512)  # channels in each stage
    mlp_ratio: float = 4.0  # hidden width of the MLP over dim
    attention_stages: int = 0  # how many of the last stages have attention
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d  # before attention
    stem_scale: bool = True  # 1x1 branches in the stem
    down_act: bool = False  # GELU after the large kernel that halves the grid
    down_gates: int = 0  # before how many of the last stages that kernel has gates


class MobileOne(RepConv):
    """branches -> (gates) -> GELU. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""

    def __init__(
        self, dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1, scale: bool = True, se: bool = False
    ):
        super().__init__(dim_in, dim, kernel, stride, groups, scale=scale)
        self.se = SqueezeExcite(dim, dim // 16) if se else nn.Identity()
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.se(super().forward(x)))

    def folded(self) -> nn.Module:
        return nn.Sequential(super().folded(), self.se, self.act)


class LargeKernelConv(BranchSum):
    """7x7 and 3x3 depthwise conv -> (gates) -> (GELU). (B, dim_in, H, W) -> (B, dim, ceil(H/2), ceil(W/2))."""

    def __init__(self, dim_in: int, dim: int, se: bool, act: bool):
        super().__init__()
        self.large_conv = ConvNorm(dim_in, dim, 7, 2, groups=dim_in)
        self.small_conv = ConvNorm(dim_in, dim, 3, 2, groups=dim_in)
        self.se = SqueezeExcite(dim, dim // 4) if se else nn.Identity()
        self.act = nn.GELU() if act else nn.Identity()

    def branches(self) -> list[nn.Module]:
        return [self.large_conv, self.small_conv]

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.se(super().forward(x)))

    def folded(self) -> nn.Module:
        return nn.Sequential(super().folded(), self.se, self.act)


class ScaledSum(nn.Module):
    """x + gamma * y, gamma a factor a channel: layer scale (arXiv:2103.17239). (B, C, H, W) twice -> (B, C, H, W)."""

    def __init__(self, dim: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim, 1, 1), GAMMA))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.addcmul(x, self.gamma, y)


class RepMixer(nn.Module):
    """Mix each position with its eight neighbours. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = RepConv(dim, dim, 3, groups=dim, convs=0, scale=False)
        self.mixer = RepConv(dim, dim, 3, groups=dim)
        self.layer_scale = ScaledSum(dim)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mixer(x)
        y -= self.norm(x)
        return self.layer_scale(x, y)

    def folded(self) -> nn.Module:
        """All of it is linear: x + gamma * (mixer(x) - norm(x)) is one depthwise convolution."""
        mixer, gamma = fold_branches(self.mixer.branches()), self.layer_scale.gamma  # (dim, 1, 1)
        (norm,) = self.norm.branches()
        normed, shift = affine(norm, mixer)
        assert mixer.bias is not None
        kernel = gamma[..., None] * (mixer.weight - widen(normed, 3))
        kernel += identity(len(gamma), mixer.groups, 3, kernel)
        return with_weights(mixer, kernel, gamma.flatten() * (mixer.bias - shift))


class ConvMlp(Mlp):
    """7x7 depthwise conv -> MLP at every position. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, hidden: int):
        super().__init__(dim, hidden, conv=True)
        self.conv = ConvNorm(dim, dim, 7, groups=dim)
        self.apply(_init_conv)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.conv(x))


class RepMixerBlock(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, drop_path: float, cfg: Config):
        super().__init__()
        self.token_mixer = RepMixer(dim)
        self.mlp = ConvMlp(dim, int(dim * cfg.mlp_ratio))
        self.layer_scale = ScaledSum(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.token_mixer(x)
        return self.layer_scale(x, self.drop_path(self.mlp(x)))


class AttentionBlock(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, drop_path: float, cfg: Config):
        super().__init__()
        self.norm = cfg.norm(dim)
        self.token_mixer = SelfAttention(dim, dim // HEAD_DIM, qkv_bias=False)
        self.layer_scale_1 = ScaledSum(dim)
        self.mlp = ConvMlp(dim, int(dim * cfg.mlp_ratio))
        self.layer_scale_2 = ScaledSum(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        grid = Grid(0, *x.shape[2:])
        y = self.token_mixer(self.norm(x).flatten(2).transpose(1, 2), grid)  # (B, N, C)
        y = y.transpose(1, 2).unflatten(2, grid.shape)
        x = self.layer_scale_1(x, self.drop_path(y))
        return self.layer_scale_2(x, self.drop_path(self.mlp(x)))


class PositionConv(nn.Module):
    """Encode position by a convolution, which sees the border. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int):
        super().__init__()
        self.pos_enc = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pos_enc(x)

    def folded(self) -> nn.Module:
        conv = self.pos_enc
        assert conv.bias is not None
        return with_weights(conv, conv.weight + identity(len(conv.weight), conv.groups, 7, conv.weight), conv.bias)


class Stage(nn.Module):
    """Halve the grid (not before the first stage), then blocks. (B, C, H, W) -> (B, dims[i], ceil(H/2), ceil(W/2))."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        dim, left = cfg.dims[i], len(cfg.dims) - i
        self.downsample = nn.Sequential()
        if i:
            large = LargeKernelConv(cfg.dims[i - 1], dim, left <= cfg.down_gates, cfg.down_act)
            self.downsample.add_module("proj", nn.Sequential(large, MobileOne(dim, dim, 1)))
        attends = left <= cfg.attention_stages
        self.pos_emb = PositionConv(dim) if attends else nn.Identity()
        block = AttentionBlock if attends else RepMixerBlock
        self.blocks = nn.Sequential(*(block(dim, rate, cfg) for rate in drop_paths))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.pos_emb(self.downsample(x)))


class FastViT(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32) -> logits (B, num_classes).

    Any H and W: each halving rounds up. With five stages the grid is H/64 by W/64.
    """

    readout = "mean"
    layouts = TOWER, APPLE

    def __init__(self, cfg: Config):
        super().__init__()
        if not cfg.attention_stages:
            self.no_attention = CHANNEL_GATES
        dim, last = cfg.dims[0], cfg.dims[-1]
        self.num_features, self.num_classes = 2 * last, cfg.num_classes
        self.stem = nn.Sequential(
            MobileOne(3, dim, 3, 2, scale=cfg.stem_scale),
            MobileOne(dim, dim, 3, 2, groups=dim, scale=cfg.stem_scale),
            MobileOne(dim, dim, 1),
        )
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.stages = nn.Sequential(*(Stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates)))
        self.final_conv = MobileOne(last, self.num_features, 3, groups=last, se=True)
        self.head = ClassifierHead(self.num_features, cfg.num_classes, cfg.drop)
        self.apply(init_linear)

    @classmethod
    def adapt(cls, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Read Apple's own files too, whose stages are one list of blocks, halvings and position layers."""
        state = super().adapt(state_dict)
        halvings = sorted({int(found[1]) for key in state if (found := re.match(r"network\.(\d+)\.proj\.", key))})

        def place(found: re.Match[str]) -> str:
            part = {"proj.": "downsample.proj.", "pe.": "pos_emb.pos_enc."}.get(found[2], "blocks.")
            return f"stages.{bisect(halvings, int(found[1]))}.{part}"  # a halving begins the next stage

        return {re.sub(r"^network\.(\d+)\.(proj\.|pe\.)?", place, key): value for key, value in state.items()}

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", self.final_conv(x), "NCHW")


def _init_conv(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


T12 = Config(mlp_ratio=3.0)
S12 = Config()
SA12 = replace(S12, attention_stages=1)
SA36 = replace(SA12, depths=(6, 6, 18, 6))

VARIANTS = {
    "fastvit_t8": replace(T12, depths=(2, 2, 4, 2), dims=(48, 96, 192, 384)),
    "fastvit_t12": T12,
    "fastvit_s12": S12,
    "fastvit_sa12": SA12,
    "fastvit_sa24": replace(SA12, depths=(4, 4, 12, 4)),
    "fastvit_sa36": SA36,
    "fastvit_ma36": replace(SA36, dims=(76, 152, 304, 608)),
}
register(FastViT, VARIANTS)
