"""CoAtNet: convolutions in the first two stages, attention over the whole grid in the last two.

    image -> 3x3 conv (H/2) -> 3x3 conv -> 4 stages, each halves the grid -> norm, mean -> (hidden layer) -> fc
    conv block  -> norm -> 1x1 conv to many channels -> 3x3 depthwise conv -> gates -> 1x1 conv -> + shortcut
    transformer -> norm -> attention with position biases -> + shortcut -> norm -> MLP -> + shortcut

Dai et al. 2021, "CoAtNet: Marrying Convolution and Attention for All Data Sizes", arXiv:2106.04803. `rw`: R. Wightman,
before the authors' code was known; `rmlp`: position biases are read off the offset by a net; CoAtNeXt: ConvNeXt's block
(arXiv:2201.03545) in place of the inverted bottleneck.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.channel_attention import SqueezeExcite
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import ClassifierHead, NormMlpHead
from zoo.layers.init import init_fan_out, init_linear
from zoo.layers.mlp import Mlp
from zoo.layers.norm import Act, BatchNormAct2d, LayerNorm2d, LayerNormAct2d
from zoo.layers.pool import HalveByMean
from zoo.layers.position_bias import NetBias, TableBias
from zoo.layers.scale import LayerScale2d
from zoo.layers.width import make_divisible
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register

CELL = 32  # side of a cell of the last grid, in pixels
HEAD_DIM, MLP_RATIO, EXPAND = 32, 4, 4  # channels of a head; hidden width over dim of an MLP and of a conv block

Pool = Callable[[], nn.Module]
Bias = Callable[[int, int], nn.Module]
Kind = Callable[..., nn.Module]  # makes a block from dim_in, dim, stride, drop_path, number of the stage and a Config


def max_pool() -> nn.Module:
    """(B, C, H, W) -> (B, C, H/2, W/2), rounded up."""
    return nn.MaxPool2d(3, 2, 1)


@dataclass(frozen=True, kw_only=True)
class MbConv:
    """The settings of MobileNetV2's inverted bottleneck, with a norm first."""

    act: Act = nn.GELU
    make_conv: Callable[..., nn.Module] = conv  # or `same_conv`, which pads as in TensorFlow
    eps: float = 1e-5  # of batch norms
    first_act: bool = False  # an activation follows the first norm, too
    of_input: bool = False  # channels inside are a multiple of the input's, not of the output's
    bias: bool = True  # of the last conv and the shortcut's
    halves_by_pool: bool = False  # not by the depthwise conv
    pool: Pool = HalveByMean  # of the shortcut
    gates_first: bool = False  # gates come before the depthwise conv's norm
    gates_act: Act = nn.SiLU
    gates: float = 1 / 4  # hidden channels of the gates, as a share of the output's (of the inner ones if `of_input`)

    def norm(self, dim: int, act: Act | None = None) -> nn.Module:
        return BatchNormAct2d(dim, act or self.act, self.eps)

    def make(self, dim_in: int, dim: int, stride: int, drop_path: float) -> nn.Module:
        return MbConvBlock(dim_in, dim, stride, drop_path, self)


@dataclass(frozen=True, kw_only=True)
class ConvNext:
    """The settings of ConvNeXt's block."""

    layer_scale: float = 1e-6  # initial gamma
    act: ClassVar[Act] = nn.GELU
    make_conv: ClassVar[Callable[..., nn.Module]] = staticmethod(conv)

    def norm(self, dim: int, act: Act | None = None) -> nn.Module:
        return LayerNormAct2d(dim, act or self.act, eps=1e-6)

    def make(self, dim_in: int, dim: int, stride: int, drop_path: float) -> nn.Module:
        return ConvNextBlock(dim_in, dim, stride, drop_path, self)


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """The settings of blocks with attention."""

    bias: Bias = TableBias  # of positions
    norm: Callable[..., nn.Module] = LayerNorm2d  # given its channels and eps
    eps: float = 1e-6  # of norms
    together: bool = True  # q, k and v of a head lie together; else all of q come first
    act: Act = nn.GELU
    of_input: bool = False  # queries, keys and values have as many channels as the input, not as the output
    shortcut_bias: bool = True  # of the shortcut's conv
    pool: Pool = HalveByMean  # of both branches
    layer_scale: float | None = None  # initial gamma, if branches have any


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one CoAtNet or MaxViT from another."""

    dims: tuple[int, ...]  # channels of each stage
    depths: tuple[int, ...]  # blocks in each stage
    stem: tuple[int, int]  # channels of the first two convs
    kinds: tuple[tuple[Kind, ...], ...]  # of the first blocks of each stage; the last is that of all others
    conv: MbConv | ConvNext = MbConv()  # the settings of conv blocks
    attend: Transformer = Transformer()  # of transformers
    hidden: bool = False  # a hidden layer before the last
    stem_bias: bool = False  # of the first convs
    img_size: int = field(default=224, kw_only=True)  # side of the image that position biases are for, pixels


class Halve(nn.Module):
    """pool -> 1x1 conv if the channels change. (B, dim_in, H, W) -> (B, dim, H/2, W/2)."""

    def __init__(self, dim_in: int, dim: int, pool: Pool, bias: bool = True):
        super().__init__()
        self.pool = pool()
        self.expand = nn.Identity() if dim_in == dim else nn.Conv2d(dim_in, dim, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.expand(self.pool(x))


class MbConvBlock(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""

    def __init__(self, dim_in: int, dim: int, stride: int, drop_path: float, of: MbConv):
        super().__init__()
        inner = make_divisible((dim_in if of.of_input else dim) * EXPAND)
        gates = SqueezeExcite(inner, int(of.gates * (inner if of.of_input else dim)), of.gates_act)
        pooled = of.halves_by_pool and stride == 2
        self.shortcut = Halve(dim_in, dim, of.pool, of.bias) if stride == 2 else nn.Identity()
        self.pre_norm = of.norm(dim_in, None if of.first_act else nn.Identity)
        self.down = Halve(dim_in, dim_in, HalveByMean) if pooled else nn.Identity()
        self.conv1_1x1, self.norm1 = conv(dim_in, inner, 1), of.norm(inner)
        self.conv2_kxk = of.make_conv(inner, inner, 3, 1 if pooled else stride, groups=inner)
        self.se_early = gates if of.gates_first else nn.Identity()
        self.norm2 = of.norm(inner)
        self.se = nn.Identity() if of.gates_first else gates
        self.conv3_1x1 = conv(inner, dim, 1, bias=of.bias)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(self.conv1_1x1(self.down(self.pre_norm(x))))
        y = self.se(self.norm2(self.se_early(self.conv2_kxk(y))))
        return self.shortcut(x) + self.drop_path(self.conv3_1x1(y))


class ConvNextBlock(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""

    def __init__(self, dim_in: int, dim: int, stride: int, drop_path: float, of: ConvNext):
        super().__init__()
        self.shortcut = Halve(dim_in, dim, HalveByMean) if stride == 2 else nn.Identity()
        self.conv_dw = conv(dim_in, dim, 7, stride, groups=dim_in, bias=True)
        self.norm, self.mlp = LayerNorm2d(dim), Mlp(dim, MLP_RATIO * dim, of.act, conv=True)
        self.ls = LayerScale2d(dim, of.layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.drop_path(self.ls(self.mlp(self.norm(self.conv_dw(x)))))


class Attention(nn.Module):
    """Every cell reads every cell. (B, dim_in, H, W) -> (B, dim, H, W). Each head's q, k and v lie together."""

    def __init__(self, dim_in: int, dim: int, side: int, of: Transformer):
        super().__init__()
        inner = dim_in if of.of_input else dim
        self.num_heads = inner // HEAD_DIM
        self.qkv, self.proj = nn.Conv2d(dim_in, 3 * inner, 1), nn.Conv2d(inner, dim, 1)
        self.rel_pos = of.bias(side, self.num_heads)

    def forward(self, x: Tensor) -> Tensor:
        grid = Grid(0, *x.shape[2:])
        qkv = self.qkv(x).flatten(2).unflatten(1, (self.num_heads, 3, -1))
        q, k, v = qkv.permute(2, 0, 1, 4, 3)  # (B, h, N, d) each
        bias = self.rel_pos(grid.shape)[None]
        y = attention(q, k, v, layer=self, geometry=lambda: Geometry.dense(grid), bias=bias)
        return self.proj(y.transpose(2, 3).flatten(1, 2).unflatten(2, grid.shape))


class TransformerBlock(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""

    def __init__(self, dim_in: int, dim: int, stride: int, drop_path: float, stage: int, cfg: Config):
        super().__init__()
        of, side = cfg.attend, cfg.img_size // (4 << stage)
        self.shortcut, self.norm1 = nn.Identity(), of.norm(dim_in, of.eps)
        if stride == 2:
            self.shortcut = Halve(dim_in, dim, of.pool, of.shortcut_bias)
            self.norm1 = nn.Sequential()
            self.norm1.add_module("norm", of.norm(dim_in, of.eps))
            self.norm1.add_module("down", of.pool())
        self.attn = Attention(dim_in, dim, side, of)
        self.norm2, self.mlp = of.norm(dim, of.eps), Mlp(dim, MLP_RATIO * dim, of.act, conv=True)
        scale = partial(LayerScale2d, dim, of.layer_scale) if of.layer_scale else nn.Identity
        self.ls1, self.ls2 = scale(), scale()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shortcut(x) + self.drop_path(self.ls1(self.attn(self.norm1(x))))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


def conv_block(dim_in: int, dim: int, stride: int, drop_path: float, stage: int, cfg: Config) -> nn.Module:
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""
    return cfg.conv.make(dim_in, dim, stride, drop_path)


class Stem(nn.Module):
    """(B, 3, H, W) -> (B, dims[1], H/2, W/2)."""

    def __init__(self, dims: tuple[int, int], bias: bool, of: MbConv | ConvNext):
        super().__init__()
        self.conv1, self.norm1 = of.make_conv(3, dims[0], 3, 2, bias=bias), of.norm(dims[0])
        self.conv2 = of.make_conv(dims[0], dims[1], 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.norm1(self.conv1(x)))


class Stage(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/2, W/2)."""

    def __init__(self, blocks: list[nn.Module]):
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class CoAtNet(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32) -> logits (B, num_classes).

    Any H and W that 32 divides: position biases are resized to the grid.
    """

    smallest = CELL

    def __init__(self, cfg: Config):
        super().__init__()
        dim = cfg.dims[-1]
        self.num_features, self.num_classes, self.img_size = dim, cfg.num_classes, cfg.img_size
        self.stem = Stem(cfg.stem, cfg.stem_bias, cfg.conv)
        self.stages, dim_in = nn.ModuleList(), cfg.stem[1]
        for i, rates in enumerate(drop_path_rates(cfg.drop_path, cfg.depths)):
            blocks, kinds = [], cfg.kinds[i]
            for j, rate in enumerate(rates):
                make = kinds[min(j, len(kinds) - 1)]
                blocks.append(make(dim_in, cfg.dims[i], 1 if j else 2, rate, i, cfg))
                dim_in = cfg.dims[i]
            self.stages.append(Stage(blocks))
        norm = partial(cfg.attend.norm, eps=cfg.attend.eps)
        self.readout = "mean_norm" if cfg.hidden else "norm_mean"
        self.norm = nn.Identity() if cfg.hidden else norm(dim)
        self.head = (
            NormMlpHead(dim, cfg.num_classes, norm, dim, cfg.drop, nn.Tanh)
            if cfg.hidden
            else ClassifierHead(dim, cfg.num_classes, cfg.drop)
        )
        self.apply(init_linear).apply(init_fan_out)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from a table of position biases, the (square) image's size."""
        fitted = super().fit(cfg, state_dict)
        for key, table in state_dict.items():
            if key.startswith("stages.3.") and key.endswith("relative_position_bias_table"):
                rows = table.shape[1] if table.ndim == 3 else round(len(table) ** 0.5)
                return fitted | {"img_size": (rows + 1) // 2 * CELL}
        return fitted

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", self.norm(x), "NCHW")


C, T = conv_block, TransformerBlock
CCTT = (C,), (C,), (T,), (T,)
SILU = MbConv(act=nn.SiLU, of_input=True)
RW = replace(SILU, first_act=True, bias=False, gates_act=nn.ReLU)
RW_T = Transformer(of_input=True)
NET_T = replace(RW_T, bias=NetBias)
NET384_T = replace(RW_T, bias=partial(NetBias, hidden=384))
SCALED = 1e-6
NANO, SMALL = (64, 128, 256, 512), (96, 192, 384, 768)
BASE, LARGE = (128, 256, 512, 1024), (192, 384, 768, 1536)

VARIANTS = {
    "coatnet_0_224": Config(SMALL, (2, 3, 5, 2), (64, 64), CCTT, hidden=True),
    "coatnet_1_224": Config(SMALL, (2, 6, 14, 2), (64, 64), CCTT, hidden=True),
    "coatnet_2_224": Config(BASE, (2, 6, 14, 2), (128, 128), CCTT, hidden=True),
    "coatnet_3_224": Config(LARGE, (2, 6, 14, 2), (192, 192), CCTT, hidden=True),
    "coatnet_4_224": Config(LARGE, (2, 12, 28, 2), (192, 192), CCTT, hidden=True),
    "coatnet_5_224": Config((256, 512, 1280, 2048), (2, 12, 28, 2), (192, 192), CCTT, hidden=True),
    "coatnet_pico_rw_224": Config(NANO, (2, 3, 5, 2), (32, 64), CCTT, SILU, RW_T),
    "coatnet_nano_rw_224": Config(NANO, (3, 4, 6, 3), (32, 64), CCTT, replace(SILU, halves_by_pool=True), RW_T),
    "coatnet_0_rw_224": Config(
        SMALL, (2, 3, 7, 2), (32, 64), CCTT, replace(RW, halves_by_pool=True, gates_first=True),
        replace(RW_T, shortcut_bias=False),
    ),
    "coatnet_1_rw_224": Config(
        SMALL, (2, 6, 14, 2), (32, 64), CCTT, replace(RW, gates_first=True), replace(RW_T, shortcut_bias=False)
    ),
    "coatnet_2_rw_224": Config(BASE, (2, 6, 14, 2), (64, 128), CCTT, replace(RW, gates_act=nn.SiLU), RW_T),
    "coatnet_3_rw_224": Config(
        LARGE, (2, 6, 14, 2), (96, 192), CCTT, replace(RW, gates_act=nn.SiLU), replace(RW_T, layer_scale=SCALED),
        num_classes=11821,
    ),
    "coatnet_bn_0_rw_224": Config(
        SMALL, (2, 3, 7, 2), (32, 64), CCTT, replace(RW, gates_first=True),
        replace(RW_T, shortcut_bias=False, norm=nn.BatchNorm2d),
    ),
    "coatnet_rmlp_nano_rw_224": Config(NANO, (3, 4, 6, 3), (32, 64), CCTT, SILU, NET384_T),
    "coatnet_rmlp_0_rw_224": Config(SMALL, (2, 3, 7, 2), (32, 64), CCTT, RW, NET_T),
    "coatnet_rmlp_1_rw_224": Config(
        SMALL, (2, 6, 14, 2), (32, 64), CCTT, replace(RW, halves_by_pool=True, gates_first=True, pool=max_pool),
        replace(NET384_T, shortcut_bias=False, pool=max_pool),
    ),
    "coatnet_rmlp_1_rw2_224": Config(SMALL, (2, 6, 14, 2), (32, 64), CCTT, RW, NET_T),
    "coatnet_rmlp_2_rw_224": Config(
        BASE, (2, 6, 14, 2), (64, 128), CCTT, replace(RW, gates_act=nn.SiLU), replace(NET_T, layer_scale=SCALED)
    ),
    "coatnet_rmlp_2_rw_384": Config(
        BASE, (2, 6, 14, 2), (64, 128), CCTT, replace(RW, gates_act=nn.SiLU), replace(NET_T, layer_scale=SCALED),
        img_size=384,
    ),
    "coatnet_rmlp_3_rw_224": Config(
        LARGE, (2, 6, 14, 2), (96, 192), CCTT, replace(RW, gates_act=nn.SiLU), replace(NET_T, layer_scale=SCALED)
    ),
    "coatnet_nano_cc_224": Config(
        NANO, (3, 4, 6, 3), (32, 64), ((C,), (C,), (C, T), (C, T)), replace(RW, halves_by_pool=True), RW_T
    ),
    "coatnext_nano_rw_224": Config(NANO, (3, 4, 6, 3), (32, 64), CCTT, ConvNext(layer_scale=1e-5), RW_T),
    "test_coatnet": Config(
        (32, 64, 96, 128), (1, 1, 2, 1), (16, 32), CCTT, replace(SILU, halves_by_pool=True), RW_T, img_size=160
    ),
}  # fmt: skip
register(CoAtNet, VARIANTS)
