"""MaxViT: after each conv block, attention inside windows, then among cells that lie evenly over the whole grid.

    image -> 3x3 conv (H/2) -> 3x3 conv -> 4 stages of blocks, each halves the grid -> mean -> norm -> fc -> tanh -> fc
    block -> conv block of CoAtNet -> norm -> attention in windows -> + shortcut -> norm -> MLP -> + shortcut
          -> the same, each of whose windows takes one cell from each tile of the grid

Tu et al. 2022, "MaxViT: Multi-Axis Vision Transformer", arXiv:2204.01697. A window has as many cells as the last grid:
a 32nd of the image's sides. `tf`: the authors' weights; `pm`: both attentions side by side; MaxxViT: ConvNeXt's block
in place of the inverted bottleneck, and in V2 no attention in windows. Other names as in zoo/families/coatnet.py.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from zoo.families.coatnet import CELL, HEAD_DIM, MLP_RATIO, CoAtNet, Config, ConvNext, MbConv, Transformer
from zoo.layers.conv import same_conv
from zoo.layers.drop import DropPath
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm
from zoo.layers.pool import check_divisible
from zoo.layers.position_bias import NetBias, TfTableBias
from zoo.layers.scale import layer_scale
from zoo.layers.windows import Windows, grid_windows, tiles
from zoo.probe import attention
from zoo.registry import register


class WindowAttention(nn.Module):
    """(B, H, W, dim) -> (B, H, W, dim_out). `cut` makes the windows, as many across the grid as along it."""

    def __init__(self, cut: Callable[..., Windows], dim: int, dim_out: int, stage: int, cfg: Config):
        super().__init__()
        self.cut, self.windows, self.num_heads = cut, 8 >> stage, dim // HEAD_DIM
        self.together = cfg.attend.together
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim_out)
        self.rel_pos = cfg.attend.bias(cfg.img_size // CELL, self.num_heads)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        into = self.cut(height, width, (height // self.windows, width // self.windows), x.device)
        qkv = self.qkv(into.cut(x))  # (B * n, N, 3 * C)
        if self.together:
            q, k, v = qkv.unflatten(2, (self.num_heads, 3, -1)).permute(3, 0, 2, 1, 4)  # (B * n, h, N, d) each
        else:
            q, k, v = qkv.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        y = attention(q, k, v, layer=self, geometry=into.geometry, bias=self.rel_pos(into.size)[None])
        return self.proj(into.merge(y.transpose(1, 2).flatten(2)))


class Branches(nn.Module):
    """norm -> attention of a subclass -> + shortcut -> norm -> MLP -> + shortcut. (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int, drop_path: float, of: Transformer):
        super().__init__()
        self.norm1, self.ls1 = LayerNorm(dim, of.eps), layer_scale(dim, of.layer_scale)
        self.norm2, self.ls2 = LayerNorm(dim, of.eps), layer_scale(dim, of.layer_scale)
        self.mlp = Mlp(dim, MLP_RATIO * dim, of.act)
        self.drop_path = DropPath(drop_path)

    def attend(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.ls1(self.attend(self.norm1(x))))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class Single(Branches):
    """(B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, cut: Callable[..., Windows], dim: int, drop_path: float, stage: int, cfg: Config):
        super().__init__(dim, drop_path, cfg.attend)
        self.attn = WindowAttention(cut, dim, dim, stage, cfg)

    def attend(self, x: Tensor) -> Tensor:
        return self.attn(x)


class Parallel(Branches):
    """Each attention gives half of the channels. (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int, drop_path: float, stage: int, cfg: Config):
        super().__init__(dim, drop_path, cfg.attend)
        self.attn_block = WindowAttention(tiles, dim, dim // 2, stage, cfg)
        self.attn_grid = WindowAttention(grid_windows, dim, dim // 2, stage, cfg)

    def attend(self, x: Tensor) -> Tensor:
        return torch.cat([self.attn_block(x), self.attn_grid(x)], 3)


class Block(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride). `local`: with attention in windows, too."""

    def __init__(
        self, dim_in: int, dim: int, stride: int, drop_path: float, stage: int, cfg: Config, local: bool = True
    ):
        super().__init__()
        self.conv = cfg.conv.make(dim_in, dim, stride, drop_path)
        self.attn_block = Single(tiles, dim, drop_path, stage, cfg) if local else nn.Identity()
        self.attn_grid = Single(grid_windows, dim, drop_path, stage, cfg)

    def forward(self, x: Tensor) -> Tensor:
        return self.attn_grid(self.attn_block(self.conv(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class ParallelBlock(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""

    def __init__(self, dim_in: int, dim: int, stride: int, drop_path: float, stage: int, cfg: Config):
        super().__init__()
        make = cfg.conv.make
        self.conv = nn.Sequential(make(dim_in, dim, stride, drop_path), make(dim, dim, 1, drop_path))
        self.attn = Parallel(dim, drop_path, stage, cfg)

    def forward(self, x: Tensor) -> Tensor:
        return self.attn(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MaxViT(CoAtNet):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32) -> logits (B, num_classes).

    Any H and W that 32 divides: position biases are resized to the windows.
    """

    def forward_features(self, x: Tensor) -> Tensor:
        check_divisible(x, CELL)
        return super().forward_features(x)


M, P, G = 4 * ((Block,),), 4 * ((ParallelBlock,),), 4 * ((partial(Block, local=False),),)
RW = MbConv(act=nn.SiLU, of_input=True, bias=False, gates=1 / 16)
NET = Transformer(bias=NetBias)
NEXT = replace(NET, layer_scale=1e-6)
TANH = partial(nn.GELU, approximate="tanh")
TF_CONV = MbConv(act=TANH, make_conv=same_conv, eps=1e-3)
TF_T = Transformer(act=TANH, eps=1e-5, bias=TfTableBias, together=False)
PICO, TINY = (32, 64, 128, 256), (64, 128, 256, 512)
SMALL, BASE = (96, 192, 384, 768), (128, 256, 512, 1024)
XLARGE = 192, 384, 768, 1536


def tf(dims: tuple[int, ...], depths: tuple[int, ...], stem: int) -> Config:
    return Config(dims, depths, (stem, stem), M, TF_CONV, TF_T, hidden=True, stem_bias=True)


TINY_RW = Config(TINY, (2, 2, 5, 2), (32, 64), M, RW)
SMALL_RMLP = Config(SMALL, (2, 2, 5, 2), (32, 64), M, RW, NEXT)
BASE_RMLP = Config(SMALL, (2, 6, 14, 2), (32, 64), M, RW, NET, hidden=True)
BASE_V2 = Config(BASE, (2, 6, 12, 2), (64, 128), G, ConvNext(), NEXT)
TINY_TF, SMALL_TF = tf(TINY, (2, 2, 5, 2), 64), tf(SMALL, (2, 2, 5, 2), 64)
BASE_TF, LARGE_TF = tf(SMALL, (2, 6, 14, 2), 64), tf(BASE, (2, 6, 14, 2), 128)
XLARGE_TF = tf(XLARGE, (2, 6, 14, 2), 192)

VARIANTS = {
    "maxvit_tiny_tf_224": TINY_TF,
    "maxvit_tiny_tf_384": replace(TINY_TF, img_size=384),
    "maxvit_tiny_tf_512": replace(TINY_TF, img_size=512),
    "maxvit_small_tf_224": SMALL_TF,
    "maxvit_small_tf_384": replace(SMALL_TF, img_size=384),
    "maxvit_small_tf_512": replace(SMALL_TF, img_size=512),
    "maxvit_base_tf_224": BASE_TF,
    "maxvit_base_tf_384": replace(BASE_TF, img_size=384),
    "maxvit_base_tf_512": replace(BASE_TF, img_size=512),
    "maxvit_large_tf_224": LARGE_TF,
    "maxvit_large_tf_384": replace(LARGE_TF, img_size=384),
    "maxvit_large_tf_512": replace(LARGE_TF, img_size=512),
    "maxvit_xlarge_tf_224": replace(XLARGE_TF, num_classes=21843),
    "maxvit_xlarge_tf_384": replace(XLARGE_TF, img_size=384),
    "maxvit_xlarge_tf_512": replace(XLARGE_TF, img_size=512),
    "maxvit_pico_rw_256": Config(PICO, (2, 2, 5, 2), (24, 32), M, RW, img_size=256),
    "maxvit_nano_rw_256": Config(TINY, (1, 2, 3, 1), (32, 64), M, RW, img_size=256),
    "maxvit_tiny_rw_224": TINY_RW,
    "maxvit_tiny_rw_256": replace(TINY_RW, img_size=256),
    "maxvit_tiny_pm_256": Config(TINY, (2, 2, 5, 2), (32, 64), P, RW, img_size=256),
    "maxvit_rmlp_pico_rw_256": Config(PICO, (2, 2, 5, 2), (24, 32), M, RW, NET, img_size=256),
    "maxvit_rmlp_nano_rw_256": Config(TINY, (1, 2, 3, 1), (32, 64), M, RW, NET, img_size=256),
    "maxvit_rmlp_tiny_rw_256": Config(TINY, (2, 2, 5, 2), (32, 64), M, RW, NET, img_size=256),
    "maxvit_rmlp_small_rw_224": SMALL_RMLP,
    "maxvit_rmlp_small_rw_256": replace(SMALL_RMLP, img_size=256),
    "maxvit_rmlp_base_rw_224": BASE_RMLP,
    "maxvit_rmlp_base_rw_384": replace(BASE_RMLP, img_size=384),
    "maxxvit_rmlp_nano_rw_256": Config(TINY, (1, 2, 3, 1), (32, 64), M, ConvNext(), NEXT, img_size=256),
    "maxxvit_rmlp_tiny_rw_256": Config(TINY, (2, 2, 5, 2), (32, 64), M, ConvNext(), NEXT, img_size=256),
    "maxxvit_rmlp_small_rw_256": Config(SMALL, (2, 2, 5, 2), (48, 96), M, ConvNext(), NEXT, img_size=256),
    "maxxvitv2_nano_rw_256": Config(
        SMALL, (1, 2, 3, 1), (48, 96), G, ConvNext(), Transformer(layer_scale=1e-6), img_size=256
    ),
    "maxxvitv2_rmlp_base_rw_224": BASE_V2,
    "maxxvitv2_rmlp_base_rw_384": replace(BASE_V2, img_size=384),
    "maxxvitv2_rmlp_large_rw_224": Config(
        (160, 320, 640, 1280), (2, 6, 16, 2), (80, 160), G, ConvNext(), NEXT, hidden=True
    ),
    "test_maxvit": Config((32, 64, 96, 128), (1, 1, 1, 1), (16, 32), M, RW, img_size=160),
}  # fmt: skip
register(MaxViT, VARIANTS)
