"""ResNet: layers learn what to add to their input, so that a hundred of them train as easily as twenty.

    image -> stem: 7x7 conv, max pool (H/4) -> 4 stages of blocks, the grid halved before stages 2 to 4 -> mean -> fc
    bottleneck -> 1x1 conv (fewer channels) -> 3x3 conv -> 1x1 conv (4 times more) -> + shortcut -> relu
    basic      -> 3x3 conv -> 3x3 conv -> + shortcut -> relu

He et al. 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385; the grid is halved by the 3x3 conv,
not by the first 1x1 conv as in the paper ("v1.5"). The letters are tweaks from He et al. 2018, "Bag of Tricks for
Image Classification with Convolutional Neural Networks", arXiv:1812.01187: three 3x3 convs in the stem (c; wider: s;
rising in steps: t), and a mean before the 1x1 conv of each halving shortcut (d, t). Wide: Zagoruyko and Komodakis
2016, arXiv:1605.07146. Group normalisation: Wu and He 2018, arXiv:1803.08494. Some checkpoints first learned from
hashtags, arXiv:1905.00546. The s and t rows and the sizes 10, 14 and 26 are not in the papers.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from zoo import base
from zoo.base import CHANNEL_GATES, CONVOLUTIONS, MeanReadout
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import classifier
from zoo.layers.norm import GroupNorm
from zoo.probe import tap
from zoo.registry import register


@dataclass(frozen=True)
class Pruned:
    """What pruning left of a stage."""

    dim: int  # output channels of its blocks
    inner: tuple[tuple[int, int], ...]  # channels after the first and the second conv of each block


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one ResNet from another."""

    depths: tuple[int, ...]  # blocks in each stage
    dims: tuple[int, ...] = (64, 128, 256, 512)  # width of each stage; bottlenecks output four times as many channels
    bottleneck: tuple[bool, ...] = (True,) * 4  # which stages have bottlenecks, not basic blocks
    stem: tuple[int, ...] = (64,)  # channels after each conv of the stem: one 7x7 or three 3x3
    pool: Callable[[int], nn.Module] | None = None  # what halves the stem's grid, given its channels; None: max pool
    down_kernel: int = 1  # of the strided conv in a halving shortcut; 0: 2x2 mean, then 1x1 conv
    groups: int = 1  # of the 3x3 conv in a bottleneck
    group_width: int = 64  # channels of each group in a stage of width 64
    first_reduce: int = 1  # how many times fewer channels a bottleneck's first conv outputs than its second
    attention: Callable[[int], nn.Module] = nn.Identity  # at the end of each branch, given its channels
    anti_alias: Callable[[], nn.Module] | None = None  # halves the grid in a branch in place of the conv's stride
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d  # given its channels
    pruned: tuple[Pruned, ...] = ()  # channels, stage by stage, if they do not follow from the fields above
    kinds: "Kinds | None" = None  # what makes a basic block and a bottleneck; None: BasicBlock and Bottleneck


def shortcut(dim_in: int, dim: int, stride: int, cfg: Config) -> nn.Sequential:
    """The identity if shapes agree. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    if stride == 1 and dim_in == dim:
        return nn.Sequential()
    if cfg.down_kernel:
        return nn.Sequential(conv(dim_in, dim, 1 if stride == 1 else cfg.down_kernel, stride), cfg.norm(dim))
    # The mean at an odd last row or column ignores padding.
    mean = nn.Identity() if stride == 1 else nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(mean, conv(dim_in, dim, 1), cfg.norm(dim))


class Block(nn.Module):
    """A branch added to its input. (B, dim_in, H, W) -> (B, dims[-1], H/stride, W/stride), rounded up.

    `dims` are the channels after each conv of the branch; `full` is what the last of them was before pruning.
    """

    def __init__(self, dim_in: int, dims: tuple[int, ...], full: int, stride: int, drop_path: float, cfg: Config):
        super().__init__()
        self.aa = cfg.anti_alias() if cfg.anti_alias and stride == 2 else nn.Identity()
        self.conv_stride = stride if isinstance(self.aa, nn.Identity) else 1
        self.se = cfg.attention(full)
        self.downsample = shortcut(dim_in, dims[-1], stride, cfg)
        self.drop_path = DropPath(drop_path)

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop_path(self.se(self.branch(x)))
        y += self.downsample(x)
        return y.relu_()


class BasicBlock(Block):
    """(B, dim_in, H, W) -> (B, dims[1], H/stride, W/stride)."""

    def __init__(self, dim_in: int, dims: tuple[int, ...], full: int, stride: int, drop_path: float, cfg: Config):
        super().__init__(dim_in, dims, full, stride, drop_path, cfg)
        self.conv1, self.bn1 = conv(dim_in, dims[0], 3, self.conv_stride), cfg.norm(dims[0])
        self.conv2, self.bn2 = conv(dims[0], dims[1], 3), cfg.norm(dims[1])

    def branch(self, x: Tensor) -> Tensor:
        x = self.aa(self.bn1(self.conv1(x)).relu_())
        return self.bn2(self.conv2(x))


class Bottleneck(Block):
    """(B, dim_in, H, W) -> (B, dims[2], H/stride, W/stride)."""

    def __init__(self, dim_in: int, dims: tuple[int, ...], full: int, stride: int, drop_path: float, cfg: Config):
        super().__init__(dim_in, dims, full, stride, drop_path, cfg)
        self.conv1, self.bn1 = conv(dim_in, dims[0], 1), cfg.norm(dims[0])
        self.conv2, self.bn2 = conv(dims[0], dims[1], 3, self.conv_stride, cfg.groups), cfg.norm(dims[1])
        self.conv3, self.bn3 = conv(dims[1], dims[2], 1), cfg.norm(dims[2])

    def branch(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu_()
        x = self.aa(self.bn2(self.conv2(x)).relu_())
        return self.bn3(self.conv3(x))


def channels(i: int, j: int, cfg: Config) -> tuple[int, ...]:
    """Channels after each conv of block j in stage i."""
    if cfg.pruned:
        return *cfg.pruned[i].inner[j], cfg.pruned[i].dim
    if not cfg.bottleneck[i]:
        return cfg.dims[i], cfg.dims[i]
    mid = cfg.dims[i] * cfg.group_width // 64 * cfg.groups
    return mid // cfg.first_reduce, mid, 4 * cfg.dims[i]


Kinds = tuple[Callable[..., nn.Module], Callable[..., nn.Module]]  # given what Block is


def stage(i: int, dim_in: int, drop_paths: list[float], cfg: Config) -> nn.Sequential:
    """(B, dim_in, H, W) -> (B, channels(i, 0, cfg)[-1], H/2, W/2); stage 0 keeps the grid."""
    kinds = cfg.kinds or (BasicBlock, Bottleneck)
    block, full = kinds[cfg.bottleneck[i]], cfg.dims[i] * (4 if cfg.bottleneck[i] else 1)
    blocks = []
    for j, rate in enumerate(drop_paths):
        dims = channels(i, j, cfg)
        blocks.append(block(dim_in, dims, full, 2 if i and not j else 1, rate, cfg))
        dim_in = dims[-1]
    return nn.Sequential(*blocks)


def stem(cfg: Config) -> nn.Module:
    """(B, 3, H, W) -> (B, stem[-1], H/2, W/2), rounded up."""
    if len(cfg.stem) == 1:
        return conv(3, cfg.stem[0], 7, 2)
    one, two, three = cfg.stem
    first = (conv(3, one, 3, 2), cfg.norm(one), nn.ReLU(inplace=True))
    return nn.Sequential(*first, conv(one, two, 3), cfg.norm(two), nn.ReLU(inplace=True), conv(two, three, 3))


class ResNet(MeanReadout):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32), rounded up -> logits (B, num_classes)."""

    classifier_key = "fc"
    no_attention = CONVOLUTIONS

    def __init__(self, cfg: Config):
        super().__init__()
        if cfg.attention is not nn.Identity:
            self.no_attention = CHANNEL_GATES
        dim = cfg.stem[-1]
        self.conv1, self.bn1 = stem(cfg), cfg.norm(dim)
        self.maxpool = cfg.pool(dim) if cfg.pool else nn.MaxPool2d(3, 2, 1)
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        for i in range(4):
            self.add_module(f"layer{i + 1}", stage(i, dim, rates[i], cfg))
            dim = channels(i, 0, cfg)[-1]
        self.drop = nn.Dropout(cfg.drop)
        self.fc = classifier(dim, cfg.num_classes)
        self.num_features, self.num_classes = dim, cfg.num_classes
        self.smallest = 17 if cfg.anti_alias else 1  # the last grid that is halved must be 2x2 or more

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.bn1(self.conv1(x)).relu_())
        for i in (1, 2, 3, 4):
            x = tap(f"stage{i}", self.get_submodule(f"layer{i}")(x), "NCHW")
        return tap("cam", x, "NCHW")


BASIC = (False,) * 4
RESNET18 = Config((2, 2, 2, 2), bottleneck=BASIC)
RESNET34 = Config((3, 4, 6, 3), bottleneck=BASIC)
RESNET26 = Config((2, 2, 2, 2))
RESNET50 = Config((3, 4, 6, 3))
RESNET101 = Config((3, 4, 23, 3))
RESNET152 = Config((3, 8, 36, 3))
RESNET200 = Config((3, 24, 36, 3))
RESNET269 = Config((3, 30, 48, 8))
resnet_c = partial(replace, stem=(32, 32, 64))
resnet_s = partial(replace, stem=(64, 64, 128))
resnet_d = partial(replace, stem=(32, 32, 64), down_kernel=0)
resnet_t = partial(replace, stem=(24, 32, 64), down_kernel=0)

VARIANTS = {
    "resnet10t": resnet_t(RESNET18, depths=(1, 1, 1, 1)),
    "resnet14t": resnet_t(RESNET26, depths=(1, 1, 1, 1)),
    "resnet18": RESNET18,
    "resnet18d": resnet_d(RESNET18),
    "resnet26": RESNET26,
    "resnet26d": resnet_d(RESNET26),
    "resnet26t": resnet_t(RESNET26),
    "resnet34": RESNET34,
    "resnet34d": resnet_d(RESNET34),
    "resnet50": RESNET50,
    "resnet50_gn": replace(RESNET50, norm=GroupNorm),
    "resnet50c": resnet_c(RESNET50),
    "resnet50d": resnet_d(RESNET50),
    "resnet50s": resnet_s(RESNET50),
    "resnet50t": resnet_t(RESNET50),
    "resnet101": RESNET101,
    "resnet101c": resnet_c(RESNET101),
    "resnet101d": resnet_d(RESNET101),
    "resnet101s": resnet_s(RESNET101),
    "resnet152": RESNET152,
    "resnet152c": resnet_c(RESNET152),
    "resnet152d": resnet_d(RESNET152),
    "resnet152s": resnet_s(RESNET152),
    "resnet200": RESNET200,
    "resnet200d": resnet_d(RESNET200),
    "test_resnet": resnet_d(
        Config((1, 1, 1, 1), dims=(32, 48, 48, 96), bottleneck=(False, False, True, False)), stem=(16, 16, 32)
    ),
    "wide_resnet50_2": replace(RESNET50, group_width=128),
    "wide_resnet101_2": replace(RESNET101, group_width=128),
}
register(ResNet, VARIANTS)
