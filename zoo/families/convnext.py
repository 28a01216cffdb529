"""ConvNeXt: a ResNet in which every design choice is made again with transformers in mind.

    image -> stem: 4x4 patches -> 4 stages of blocks, the grid halved before each but the first -> mean -> norm -> fc
    block -> 7x7 depthwise conv (mix positions) -> norm -> 4x wide MLP (mix channels) -> gamma -> + shortcut

V1: Liu et al. 2022, "A ConvNet for the 2020s", arXiv:2201.03545. V2 adds GRN and drops gamma: Woo et al. 2023,
arXiv:2301.00808. V1's sizes under tiny and the _ols, _hnf and _rms variants are timm's own (Ross Wightman); the _cifar
size is this project's, for photos of 32x32.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, Backbone
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import ClassifierHead, NormMlpHead
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm, LayerNorm2d, RmsNorm2d, SimpleNorm2d
from zoo.layers.scale import gamma
from zoo.layers.width import make_divisible
from zoo.probe import tap
from zoo.registry import register


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one ConvNeXt from another."""

    depths: tuple[int, ...]  # blocks in each stage
    dims: tuple[int, ...]  # channels in each stage
    kernels: tuple[int, ...] = (7, 7, 7, 7)  # depthwise kernel in each stage
    patch: int = 4  # pixels between two cells of the stem's grid
    stem: str = "patch"  # or two 3x3 convs: "overlap"; the first half as wide: + "_tiered"; act between them: + "_act"
    conv_mlp: bool = False  # MLP as 1x1 convs on (B, C, H, W), not as linear layers on (B, H, W, C)
    grn: bool = False  # V2: global response norm inside the MLP
    gamma: float | None = 1e-6  # V1: initial scale of each branch; V2: None, no gamma
    norm: Callable[..., nn.Module] = LayerNorm2d  # of (B, C, H, W), given its channels and eps
    eps: float = 1e-6  # what every norm adds to the variance
    act: Callable[[], nn.Module] = nn.GELU  # inside the MLP
    head_norm_first: bool = False  # norm before the mean, not after
    head_hidden: int | None = None  # one hidden layer in the head, this wide


class Block(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, kernel: int, drop_path: float, cfg: Config):
        super().__init__()
        self.conv_mlp = cfg.conv_mlp
        self.conv_dw = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = (cfg.norm if cfg.conv_mlp else LayerNorm)(dim, eps=cfg.eps)
        self.mlp = Mlp(dim, 4 * dim, act=cfg.act, conv=cfg.conv_mlp, grn=cfg.grn)
        self.gamma = gamma(dim, cfg.gamma)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_dw(x)
        if self.conv_mlp:
            y = self.mlp(self.norm(y))
        else:
            y = self.mlp(self.norm(y.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        if self.gamma is not None:
            y = y * self.gamma[:, None, None]
        return x + self.drop_path(y)


class Stage(nn.Module):
    """Halve the grid (not before the first stage), then blocks. (B, C, H, W) -> (B, dims[i], H/2, W/2)."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        dim_in, dim = cfg.dims[max(i - 1, 0)], cfg.dims[i]
        down = (cfg.norm(dim_in, eps=cfg.eps), nn.Conv2d(dim_in, dim, 2, 2)) if i else ()
        self.downsample = nn.Sequential(*down)
        self.blocks = nn.Sequential(*(Block(dim, cfg.kernels[i], rate, cfg) for rate in drop_paths))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


def stem(cfg: Config) -> nn.Sequential:
    """(B, 3, H, W) -> (B, dims[0], H/patch, W/patch)."""
    dim, norm = cfg.dims[0], cfg.norm(cfg.dims[0], eps=cfg.eps)
    if cfg.stem == "patch":
        return nn.Sequential(nn.Conv2d(3, dim, cfg.patch, cfg.patch), norm)
    mid = make_divisible(dim // 2) if cfg.stem == "overlap_tiered" else dim
    act = [cfg.act()] if cfg.stem == "overlap_act" else []
    return nn.Sequential(nn.Conv2d(3, mid, 3, cfg.patch // 2, 1), *act, nn.Conv2d(mid, dim, 3, 2, 1), norm)


class ConvNeXt(Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/32, W/32) -> logits (B, num_classes).

    A smaller patch or fewer stages make the grid finer. An image too small to be halved that often is a ValueError.
    """

    no_attention = CONVOLUTIONS

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features = dim = cfg.dims[-1]
        self.num_classes = cfg.num_classes
        spare = 0 if cfg.stem == "patch" else cfg.patch - 1  # an overlapping stem pads, so its grid is rounded up
        self.smallest = cfg.patch * 2 ** (len(cfg.dims) - 1) - spare
        norm = partial(cfg.norm, eps=cfg.eps)
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.stem = stem(cfg)
        self.stages = nn.Sequential(*(Stage(i, rates[i], cfg) for i in range(len(cfg.dims))))
        if cfg.head_norm_first:
            self.readout = "norm_mean"
            self.norm_pre, self.head = norm(dim), ClassifierHead(dim, cfg.num_classes, cfg.drop)
        else:
            self.readout = "mean_norm"
            self.norm_pre, self.head = nn.Identity(), NormMlpHead(dim, cfg.num_classes, norm, cfg.head_hidden, cfg.drop)

    @classmethod
    def adapt(cls, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Files of masked pre-training (fcmae) have no head: add its norm as initialised."""
        if "head.norm.weight" in state_dict or "norm_pre.weight" in state_dict:
            return state_dict
        like = state_dict["stages.3.blocks.0.norm.weight"]
        return state_dict | {"head.norm.weight": torch.ones_like(like), "head.norm.bias": torch.zeros_like(like)}

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", self.norm_pre(x), "NCHW")


ZEPTO = Config((2, 2, 4, 2), (32, 64, 128, 256), conv_mlp=True, norm=SimpleNorm2d)
ATTO = Config((2, 2, 6, 2), (40, 80, 160, 320), conv_mlp=True)
FEMTO = Config((2, 2, 6, 2), (48, 96, 192, 384), conv_mlp=True)
PICO = Config((2, 2, 6, 2), (64, 128, 256, 512), conv_mlp=True)
NANO = Config((2, 2, 8, 2), (80, 160, 320, 640), conv_mlp=True)
TINY = Config((3, 3, 9, 3), (96, 192, 384, 768))
SMALL = Config((3, 3, 27, 3), (96, 192, 384, 768))
BASE = Config((3, 3, 27, 3), (128, 256, 512, 1024))
LARGE = Config((3, 3, 27, 3), (192, 384, 768, 1536))
XLARGE = Config((3, 3, 27, 3), (256, 512, 1024, 2048))
HUGE = Config((3, 3, 27, 3), (352, 704, 1408, 2816))
XXLARGE = Config((3, 4, 30, 3), (384, 768, 1536, 3072), eps=1e-5)
TEST = Config((1, 2, 4, 2), (24, 32, 48, 64), eps=1e-5, act=partial(nn.GELU, approximate="tanh"))
CIFAR = Config(
    (2, 4, 3), (48, 96, 192), (7, 7, 3), stem="overlap_tiered", patch=2, gamma=None, num_classes=10, img_size=32
)
TEST2 = replace(TEST, depths=(1, 1, 1, 1), dims=(32, 64, 96, 128))
v2 = partial(replace, grn=True, gamma=None)

VARIANTS = {
    "convnext_zepto_rms": ZEPTO,
    "convnext_zepto_rms_ols": replace(ZEPTO, stem="overlap_act"),
    "convnext_atto": ATTO,
    "convnext_atto_ols": replace(ATTO, stem="overlap_tiered"),
    "convnext_atto_rms": replace(ATTO, norm=RmsNorm2d),
    "convnext_femto": FEMTO,
    "convnext_femto_ols": replace(FEMTO, stem="overlap_tiered"),
    "convnext_pico": PICO,
    "convnext_pico_ols": replace(PICO, stem="overlap_tiered"),
    "convnext_nano": NANO,
    "convnext_nano_ols": replace(NANO, stem="overlap"),
    "convnext_tiny": TINY,
    "convnext_tiny_hnf": replace(TINY, head_norm_first=True, conv_mlp=True),
    "convnext_small": SMALL,
    "convnext_base": BASE,
    "convnext_large": LARGE,
    "convnext_large_mlp": replace(LARGE, head_hidden=1536),
    "convnext_xlarge": XLARGE,
    "convnext_xxlarge": XXLARGE,
    "convnextv2_atto": v2(ATTO),
    "convnextv2_femto": v2(FEMTO),
    "convnextv2_pico": v2(PICO),
    "convnextv2_nano": v2(NANO),
    "convnextv2_tiny": v2(TINY),
    "convnextv2_small": v2(SMALL),
    "convnextv2_base": v2(BASE),
    "convnextv2_large": v2(LARGE),
    "convnextv2_huge": v2(HUGE),
    "convnext_cifar": CIFAR,
    "test_convnext": TEST,
    "test_convnext2": TEST2,
    "test_convnext3": replace(TEST2, kernels=(7, 5, 5, 3), act=nn.SiLU),
}
register(ConvNeXt, VARIANTS)
