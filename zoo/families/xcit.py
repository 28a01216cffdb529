"""XCiT: attention between channels, whose cost grows with the number of patches and not with its square.

    image -> 3x3 convs of stride 2 -> patches + positions -> blocks -> + class token -> 2 class blocks -> norm -> fc
    block       -> norm -> attention between channels -> + shortcut -> norm -> two 3x3 depthwise convs -> + shortcut
                -> norm -> MLP -> + shortcut
    class block -> the class token reads all tokens -> + shortcut -> norm -> MLP of the class token -> + shortcut

El-Nouby et al. 2021, "XCiT: Cross-Covariance Image Transformers", arXiv:2106.09681. Patches talk to each other through
the depthwise convs and the channels that they share. p8: patches of 8x8 pixels. Names that end in 384 are for weights
trained on images of that side: the nets are the same, since positions are computed for any grid.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.class_attention import ClassAttention
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath
from zoo.layers.embed import position_table
from zoo.layers.head import classifier
from zoo.layers.init import init_linear
from zoo.layers.kept import kept
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm
from zoo.probe import Grid, attention, tap
from zoo.registry import register

CLASS_DEPTH = 2  # class blocks
MLP_RATIO = 4  # hidden width of an MLP over dim
WAVES, TEMPERATURE = 32, 10_000.0  # sines and cosines along an axis, and the wavelength of the last over the first's


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one XCiT from another."""

    dim: int  # channels of a token
    depth: int  # blocks
    num_heads: int  # of attention
    patch: int = 16  # side of a patch, pixels
    norm_all: bool = True  # class blocks normalise the patches, too, before their MLP
    layer_scale: float = 1e-5  # initial gamma


class Fourier(nn.Module):
    """Add sines and cosines of each cell's row and column, projected. (B, dim, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim: int):
        super().__init__()
        self.token_projection = nn.Conv2d(2 * WAVES, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.token_projection(waves(x.shape[2], x.shape[3]).to(x))


@kept(16)
def waves(height: int, width: int) -> Tensor:
    """The sines and cosines of each cell of a grid, in float32 as in the published models. (1, 2 * WAVES, H, W)."""

    def axis(count: int) -> Tensor:
        position = torch.arange(1.0, count + 1, device="cpu")
        turns = position / (position[-1:] + 1e-6) * (2 * math.pi)
        pair = torch.arange(WAVES, device="cpu").div(2, rounding_mode="floor")
        angles = turns[:, None] / TEMPERATURE ** (2 * pair.float() / WAVES)
        return torch.stack([angles[:, 0::2].sin(), angles[:, 1::2].cos()], 2).flatten(1)  # (count, WAVES)

    rows, columns = axis(height)[:, None].expand(-1, width, -1), axis(width).expand(height, -1, -1)
    return torch.cat([rows, columns], 2).permute(2, 0, 1)[None]


class ConvPatches(nn.Module):
    """Convs that halve the grid until a cell is a patch. (B, 3, H, W) -> (B, dim, H/patch, W/patch), rounded up."""

    def __init__(self, patch: int, dim: int):
        super().__init__()
        steps = patch.bit_length() - 1
        layers, dim_in = nn.Sequential(), 3
        for i in range(steps):
            out = dim >> (steps - 1 - i)
            layers.extend([nn.Sequential(conv(dim_in, out, 3, 2), nn.BatchNorm2d(out)), nn.GELU()])
            dim_in = out
        self.proj = layers[:-1]

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class ChannelAttention(nn.Module):
    """Softmax of the cosines between channels, times a temperature (section 3.2). (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 4, 1)  # (B, h, d, N) each
        q, k = F.normalize(q, dim=3) * self.temperature, F.normalize(k, dim=3)
        x = attention(q, k, v, layer=self, geometry=None, scale=1.0)
        return self.proj(x.flatten(1, 2).transpose(1, 2))


class LocalMixing(nn.Module):
    """depthwise 3x3 conv -> GELU -> batch norm -> depthwise 3x3 conv. (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv1 = conv(dim, dim, 3, groups=dim, bias=True)
        self.act, self.bn = nn.GELU(), nn.BatchNorm2d(dim)
        self.conv2 = conv(dim, dim, 3, groups=dim, bias=True)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = x.transpose(1, 2).unflatten(2, grid.shape)
        return self.conv2(self.bn(self.act(self.conv1(x)))).flatten(2).transpose(1, 2)


def gamma(cfg: Config) -> nn.Parameter:
    """Draw the factors of a branch's channels. (dim,)."""
    return nn.Parameter(torch.full((cfg.dim,), cfg.layer_scale))


class Block(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.norm1, self.attn, self.gamma1 = LayerNorm(cfg.dim), ChannelAttention(cfg.dim, cfg.num_heads), gamma(cfg)
        self.norm3, self.local_mp, self.gamma3 = LayerNorm(cfg.dim), LocalMixing(cfg.dim), gamma(cfg)
        self.norm2, self.mlp, self.gamma2 = LayerNorm(cfg.dim), Mlp(cfg.dim, MLP_RATIO * cfg.dim), gamma(cfg)
        self.drop_path = DropPath(cfg.drop_path)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = torch.addcmul(x, self.drop_path(self.attn(self.norm1(x))), self.gamma1)
        x = torch.addcmul(x, self.drop_path(self.local_mp(self.norm3(x), grid)), self.gamma3)
        return torch.addcmul(x, self.drop_path(self.mlp(self.norm2(x))), self.gamma2)


class ClassBlock(nn.Module):
    """(B, 1 + N, C) -> (B, 1 + N, C). As in the published models, patches are changed, too: normalised and doubled."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.norm_all = cfg.norm_all
        self.norm1, self.attn, self.gamma1 = LayerNorm(cfg.dim), ClassAttention(cfg.dim, cfg.num_heads), gamma(cfg)
        self.norm2, self.mlp, self.gamma2 = LayerNorm(cfg.dim), Mlp(cfg.dim, MLP_RATIO * cfg.dim), gamma(cfg)
        self.drop_path = DropPath(cfg.drop_path)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        y = self.norm1(x)
        y = torch.cat([self.attn(y, grid), y[:, 1:]], 1)
        x = torch.addcmul(x, self.drop_path(y), self.gamma1)
        token, patches = (self.norm2(x) if self.norm_all else x).tensor_split((1,), 1)
        token = token if self.norm_all else self.norm2(token)
        y = torch.cat([self.mlp(token) * self.gamma2, patches], 1)
        return torch.cat([token, patches], 1) + self.drop_path(y)


class XCiT(Backbone):
    """Image (B, 3, H, W) -> tokens (B, 1 + N, dim), N = H/patch * W/patch, rounded up -> logits (B, num_classes)."""

    readout = "token"
    classifier_key = "head"
    no_rollout = "patches read each other through convolutions and channels, not through attention between positions"

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = cfg.dim, cfg.num_classes
        self.patch_embed, self.pos_embed = ConvPatches(cfg.patch, cfg.dim), Fourier(cfg.dim)
        # The rate is the same in all blocks, as in the paper.
        self.blocks = nn.ModuleList(Block(cfg) for _ in range(cfg.depth))
        self.cls_token = position_table(1, cfg.dim)
        self.cls_attn_blocks = nn.ModuleList(ClassBlock(cfg) for _ in range(CLASS_DEPTH))
        self.norm = LayerNorm(cfg.dim)
        self.head_drop = nn.Dropout(cfg.drop)
        self.head = classifier(cfg.dim, cfg.num_classes)
        self.apply(init_linear)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        grid = Grid(0, *x.shape[2:])
        x = self.pos_embed(x).flatten(2).transpose(1, 2)
        for i, block in enumerate(self.blocks, 1):
            x = tap(f"stage{i}", block(x, grid), "NLC", grid)
        return self.norm(self.ask(tap("cam", x, "NLC", grid), grid))

    def ask(self, x: Tensor, grid: Grid) -> Tensor:
        """Let the class token read the patches. (B, N, dim) -> tokens (B, 1 + N, dim)."""
        x, grid = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1), grid._replace(prefix=1)
        for i, block in enumerate(self.cls_attn_blocks, 1 + len(self.blocks)):
            x = tap(f"stage{i}", block(x, grid), "NLC", grid)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.head_drop(x[:, 0])
        return x if pre_logits else self.head(x)

    def read(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Read logits from the tokens after any block; patches alone go through the class blocks first."""
        return self.forward_head(self.norm(tokens if grid.prefix else self.ask(tokens, grid)))


NANO12 = Config(128, 12, 4, norm_all=False, layer_scale=1.0)
TINY12 = Config(192, 12, 4, layer_scale=1.0)
SMALL12 = Config(384, 12, 8, layer_scale=1.0)
TINY24 = Config(192, 24, 4)
SMALL24 = Config(384, 24, 8)
MEDIUM24 = Config(512, 24, 8)
LARGE24 = Config(768, 24, 16)
p8 = partial(replace, patch=8)

VARIANTS = {
    "xcit_nano_12_p16_224": NANO12,
    "xcit_nano_12_p16_384": NANO12,
    "xcit_nano_12_p8_224": p8(NANO12),
    "xcit_nano_12_p8_384": p8(NANO12),
    "xcit_tiny_12_p16_224": TINY12,
    "xcit_tiny_12_p16_384": TINY12,
    "xcit_tiny_12_p8_224": p8(TINY12),
    "xcit_tiny_12_p8_384": p8(TINY12),
    "xcit_small_12_p16_224": SMALL12,
    "xcit_small_12_p16_384": SMALL12,
    "xcit_small_12_p8_224": p8(SMALL12),
    "xcit_small_12_p8_384": p8(SMALL12),
    "xcit_tiny_24_p16_224": TINY24,
    "xcit_tiny_24_p16_384": TINY24,
    "xcit_tiny_24_p8_224": p8(TINY24),
    "xcit_tiny_24_p8_384": p8(TINY24),
    "xcit_small_24_p16_224": SMALL24,
    "xcit_small_24_p16_384": SMALL24,
    "xcit_small_24_p8_224": p8(SMALL24),
    "xcit_small_24_p8_384": p8(SMALL24),
    "xcit_medium_24_p16_224": MEDIUM24,
    "xcit_medium_24_p16_384": MEDIUM24,
    "xcit_medium_24_p8_224": p8(MEDIUM24),
    "xcit_medium_24_p8_384": p8(MEDIUM24),
    "xcit_large_24_p16_224": LARGE24,
    "xcit_large_24_p16_384": LARGE24,
    "xcit_large_24_p8_224": p8(LARGE24),
    "xcit_large_24_p8_384": p8(LARGE24),
}
register(XCiT, VARIANTS)
