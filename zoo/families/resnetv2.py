"""ResNet-V2: norm and activation before each convolution, so that nothing but sums lies between input and output.

    image -> stem: 7x7 conv, max pool (H/4) -> 4 stages of blocks -> norm, relu -> mean -> fc (a 1x1 conv)
    bottleneck -> norm, relu -> 1x1 conv -> norm, relu -> 3x3 conv -> norm, relu -> 1x1 conv -> + shortcut

He et al. 2016, "Identity Mappings in Deep Residual Networks", arXiv:1603.05027. The bit rows are Big Transfer:
Kolesnikov et al. 2019, "Big Transfer (BiT): General Visual Representation Learning", arXiv:1912.11370, with group norm
and standardised weights; x3: three times as wide. d and t rows have ResNet-D's stems and shortcuts, gn, evos and frn
other norms (group norm; EvoNorm, arXiv:2004.02967; filter response norm, arXiv:1911.09737); these are timm's own.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, Backbone
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import conv_classifier
from zoo.layers.norm import BatchNormAct2d, FilterResponseNorm2d, GroupNormAct2d, evo_norm
from zoo.layers.std_conv import StdConv2d
from zoo.layers.table import RELU
from zoo.probe import tap
from zoo.registry import register

Conv = Callable[..., nn.Module]
batch_norm = partial(BatchNormAct2d, act=RELU)


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one ResNet-V2 from another."""

    depths: tuple[int, ...]  # blocks in each stage
    dims: tuple[int, ...] = (256, 512, 1024, 2048)  # channels of each stage
    bottleneck: bool = True  # the blocks are bottlenecks, not basic blocks
    stem: tuple[int, ...] = (64,)  # channels after each conv of the stem: one 7x7 or three 3x3
    avg_down: bool = False  # halving shortcuts: 2x2 mean, then 1x1 conv; or else one strided conv
    zeros: bool = False  # the stem's max pool sees zeros beyond the border, as in TensorFlow
    norm: Callable[[int], nn.Module] = batch_norm  # given its channels; with an activation
    conv: Conv = conv  # given input and output channels and kernel; stride is optional


def shortcut(dim_in: int, dim: int, stride: int, cfg: Config) -> nn.Sequential:
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    if not cfg.avg_down:
        return nn.Sequential(OrderedDict(conv=cfg.conv(dim_in, dim, 1, stride)))
    mean = nn.Identity() if stride == 1 else nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(OrderedDict(pool=mean, conv=cfg.conv(dim_in, dim, 1)))


class Block(nn.Module):
    """Pre-activated convs, added to the input. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up.

    The shortcut is a conv, which reads what the first norm outputs, if shapes differ, and in each stage's first
    bottleneck.
    """

    def __init__(self, dim_in: int, dim: int, stride: int, first: bool, drop_path: float, cfg: Config):
        super().__init__()
        convs = [(dim, 3, stride), (dim, 3, 1)]  # channels, kernel and stride of each
        if cfg.bottleneck:
            convs = [(dim // 4, 1, 1), (dim // 4, 3, stride), (dim, 1, 1)]
        moved = stride > 1 or dim_in != dim or (first and cfg.bottleneck)
        self.downsample = shortcut(dim_in, dim, stride, cfg) if moved else None
        self.convs = len(convs)
        for i, (out, kernel, step) in enumerate(convs, 1):
            self.add_module(f"norm{i}", cfg.norm(dim_in))
            self.add_module(f"conv{i}", cfg.conv(dim_in, out, kernel, step))
            dim_in = out
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.get_submodule("norm1")(x)
        x = x if self.downsample is None else self.downsample(y)
        y = self.get_submodule("conv1")(y)
        for i in range(2, self.convs + 1):
            y = self.get_submodule(f"conv{i}")(self.get_submodule(f"norm{i}")(y))
        return self.drop_path(y) + x


class Stage(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""

    def __init__(self, dim_in: int, dim: int, stride: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        self.blocks = nn.Sequential()
        for i, rate in enumerate(drop_paths):
            self.blocks.append(Block(dim if i else dim_in, dim, 1 if i else stride, i == 0, rate, cfg))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


def stem(cfg: Config) -> nn.Sequential:
    """(B, 3, H, W) -> (B, stem[-1], H/4, W/4), rounded up."""
    layers = OrderedDict[str, nn.Module]()
    if len(cfg.stem) == 1:
        layers["conv"] = cfg.conv(3, cfg.stem[0], 7, 2)
    else:
        one, two, three = cfg.stem
        layers["conv1"], layers["norm1"] = cfg.conv(3, one, 3, 2), cfg.norm(one)
        layers["conv2"], layers["norm2"] = cfg.conv(one, two, 3), cfg.norm(two)
        layers["conv3"] = cfg.conv(two, three, 3)
    if cfg.zeros:
        layers["pad"] = nn.ZeroPad2d(1)
    layers["pool"] = nn.MaxPool2d(3, 2, 0 if cfg.zeros else 1)
    return nn.Sequential(layers)


class ConvHead(nn.Module):
    """mean over the grid -> dropout -> fc, a 1x1 conv in the checkpoints. (B, C, H, W) -> (B, num_classes)."""

    def __init__(self, dim: int, num_classes: int, drop: float):
        super().__init__()
        self.drop = nn.Dropout(drop)
        self.fc = conv_classifier(dim, num_classes)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.drop(x.mean((2, 3), keepdim=True))
        return (x if pre_logits else self.fc(x)).flatten(1)


class ResNetV2(Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "mean"
    no_attention = CONVOLUTIONS

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = cfg.dims[-1], cfg.num_classes
        self.stem = stem(cfg)
        self.stages, dim = nn.Sequential(), cfg.stem[-1]
        for i, rates in enumerate(drop_path_rates(cfg.drop_path, cfg.depths)):
            self.stages.append(Stage(dim, cfg.dims[i], 2 if i else 1, rates, cfg))
            dim = cfg.dims[i]
        self.norm = cfg.norm(dim)
        self.head = ConvHead(dim, cfg.num_classes, cfg.drop)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", self.norm(x), "NCHW")


def group_norm(dim: int) -> nn.Module:
    """GroupNorm of 32 groups, then ReLU."""
    return GroupNormAct2d(dim, RELU, dim // 32)


def bit(depths: tuple[int, ...], width: int) -> Config:
    """Big Transfer's nets, `width` times as wide as a ResNet."""
    dims = tuple(width * dim for dim in (256, 512, 1024, 2048))
    return Config(depths, dims, stem=(64 * width,), zeros=True, norm=group_norm, conv=StdConv2d)


d = partial(replace, stem=(32, 32, 64), avg_down=True)
BASIC18 = Config((2, 2, 2, 2), (64, 128, 256, 512), bottleneck=False)
BASIC34 = replace(BASIC18, depths=(3, 4, 6, 3))
DEPTHS50, DEPTHS101, DEPTHS152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)

VARIANTS = {
    "resnetv2_18": BASIC18,
    "resnetv2_18d": d(BASIC18),
    "resnetv2_34": BASIC34,
    "resnetv2_34d": d(BASIC34),
    "resnetv2_50": Config(DEPTHS50),
    "resnetv2_50d": d(Config(DEPTHS50)),
    "resnetv2_50d_evos": d(Config(DEPTHS50, norm=partial(evo_norm, act=RELU))),
    "resnetv2_50d_frn": d(Config(DEPTHS50, norm=FilterResponseNorm2d)),
    "resnetv2_50d_gn": d(Config(DEPTHS50, norm=group_norm)),
    "resnetv2_50t": d(Config(DEPTHS50), stem=(24, 32, 64)),
    "resnetv2_50x1_bit": bit(DEPTHS50, 1),
    "resnetv2_50x3_bit": bit(DEPTHS50, 3),
    "resnetv2_101": Config(DEPTHS101),
    "resnetv2_101d": d(Config(DEPTHS101)),
    "resnetv2_101x1_bit": bit(DEPTHS101, 1),
    "resnetv2_101x3_bit": bit(DEPTHS101, 3),
    "resnetv2_152": Config(DEPTHS152),
    "resnetv2_152d": d(Config(DEPTHS152)),
    "resnetv2_152x2_bit": bit(DEPTHS152, 2),
    "resnetv2_152x4_bit": bit(DEPTHS152, 4),
}
register(ResNetV2, VARIANTS)
