"""HRNet: a stream at high resolution runs from beginning to end, beside coarser ones, and all exchange what they found.

    image -> two 3x3 convs (H/4) -> stage 1: bottlenecks -> stages 2 to 4, each with one more stream, half as fine
    -> from the finest stream on: bottleneck, halve, add to the next one's bottleneck -> 1x1 conv (H/32) -> mean -> fc
    stage  -> modules: basic blocks on each stream -> each stream becomes the sum of all, brought to its grid -> relu

Finer streams are brought down by 3x3 convs of stride 2, coarser ones up by a 1x1 conv and by repeating cells. Wang et
al. 2019, "Deep High-Resolution Representation Learning for Visual Recognition", arXiv:1908.07919; the number in a name
is the width of the finest stream (small: 16). The ssld weights were distilled: Cui et al. 2021, arXiv:2103.05959.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, MeanReadout
from zoo.families import resnet
from zoo.layers.conv import conv, conv_relu
from zoo.layers.drop import drop_path_rates
from zoo.layers.head import classifier
from zoo.layers.init import init_fan_out
from zoo.layers.pool import check_divisible
from zoo.probe import tap
from zoo.registry import register

STEM = 64  # channels
LAST = 32, 64, 128, 256  # width of the bottleneck at the end of each stream, which outputs four times as many channels


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one HRNet from another."""

    width: int  # channels of the finest stream; each coarser one has twice as many
    first_dim: int = 64  # width of the bottlenecks in stage 1
    first_depth: int = 4  # how many they are
    modules: tuple[int, ...] = (1, 4, 3)  # in stages 2 to 4
    depth: int = 4  # blocks of each stream in a module
    head_bias: bool = True  # of the convs after the streams


def blocks(dim_in: int, dim: int, drop_paths: list[float], bottleneck: bool = False) -> nn.Sequential:
    """Make blocks of a ResNet that keep the grid. (B, dim_in, H, W) -> (B, dim, H, W), bottlenecks 4 * dim."""
    return resnet.stage(0, dim_in, drop_paths, resnet.Config((len(drop_paths),), (dim,), (bottleneck,)))


def bring(dims: list[int], source: int, target: int) -> nn.Module:
    """Bring one stream to another's grid and channels. (B, dims[source], ...) -> (B, dims[target], ...)."""
    dim_in, dim = dims[source], dims[target]
    if source == target:
        return nn.Identity()
    if source > target:
        up = nn.Upsample(scale_factor=2 ** (source - target))
        return nn.Sequential(conv(dim_in, dim, 1), nn.BatchNorm2d(dim), up)
    steps = [conv_relu(dim_in, dim_in, 3, 2) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, nn.Sequential(conv(dim_in, dim, 3, 2), nn.BatchNorm2d(dim)))


class Module(nn.Module):
    """Blocks on each stream, then an exchange. A list of (B, dims[i], H/2^i, W/2^i) -> a list of the same shapes."""

    def __init__(self, dims: list[int], drop_paths: list[float]):
        super().__init__()
        every = range(len(dims))
        self.branches = nn.ModuleList(blocks(dim, dim, drop_paths) for dim in dims)
        self.fuse_layers = nn.ModuleList(nn.ModuleList(bring(dims, j, i) for j in every) for i in every)

    def forward(self, streams: list[Tensor]) -> list[Tensor]:
        streams = [branch(x) for branch, x in zip(self.branches, streams, strict=True)]
        fused = []
        for paths in self.fuse_layers:
            # The coarsest first: what is enlarged says least about position, and cells weigh the last of a sum most.
            parts = (path(x) for path, x in reversed([*zip(paths.children(), streams, strict=True)]))
            y = next(parts) + next(parts)  # not in place: the first may be a stream itself
            for part in parts:
                y += part
            fused.append(y.relu_())
        return fused


def transition(dims_in: list[int], dims: list[int]) -> nn.ModuleList:
    """Make what leads from the streams of one stage to the next's, of which the last is the coarsest so far, halved."""
    kept = (nn.Identity() if a == b else conv_relu(a, b, 3) for a, b in zip(dims_in, dims, strict=False))
    return nn.ModuleList([*kept, nn.Sequential(conv_relu(dims_in[-1], dims[-1], 3, 2))])


class HRNet(MeanReadout):
    """Image (B, 3, H, W) -> features (B, 2048, H/32, W/32) -> logits (B, num_classes).

    A side of the grid after the stem (H/4, rounded up) must be a multiple of 8; any other is a ValueError.
    The taps of stages show the finest stream.
    """

    classifier_key = "classifier"
    no_attention = CONVOLUTIONS
    smallest = 29
    num_features = 2048

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_classes = cfg.num_classes
        self.conv1, self.bn1 = conv(3, STEM, 3, 2), nn.BatchNorm2d(STEM)
        self.conv2, self.bn2 = conv(STEM, STEM, 3, 2), nn.BatchNorm2d(STEM)
        rates = iter(drop_path_rates(cfg.drop_path, (cfg.first_depth, *[cfg.depth] * sum(cfg.modules))))
        self.layer1 = blocks(STEM, cfg.first_dim, next(rates), bottleneck=True)
        dims = [cfg.width * 2**i for i in range(4)]
        dims_in = [4 * cfg.first_dim]
        for i, count in enumerate(cfg.modules, 1):
            self.add_module(f"transition{i}", transition(dims_in, dims[: i + 1]))
            dims_in = dims[: i + 1]
            self.add_module(f"stage{i + 1}", nn.Sequential(*(Module(dims_in, next(rates)) for _ in range(count))))
        ends = zip(dims, LAST, strict=True)
        self.incre_modules = nn.ModuleList(blocks(dim, last, [0.0], bottleneck=True) for dim, last in ends)
        self.downsamp_modules = nn.ModuleList(conv_relu(4 * dim, 8 * dim, 3, 2, cfg.head_bias) for dim in LAST[:-1])
        self.final_layer = conv_relu(4 * LAST[-1], self.num_features, 1, bias=cfg.head_bias)
        self.drop = nn.Dropout(cfg.drop)
        self.classifier = classifier(self.num_features, cfg.num_classes)
        self.apply(init_fan_out)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu_()
        x = self.bn2(self.conv2(x)).relu_()
        check_divisible(x, 8)
        streams = [tap("stage1", self.layer1(x), "NCHW")]
        for i in (1, 2, 3):
            makers = self.get_submodule(f"transition{i}").children()
            streams = [make(x) for make, x in zip(makers, [*streams, streams[-1]], strict=True)]
            finest, *others = self.get_submodule(f"stage{i + 1}")(streams)
            streams = [tap(f"stage{i + 1}", finest, "NCHW"), *others]
        x, *others = (widen(stream) for widen, stream in zip(self.incre_modules, streams, strict=True))
        for halve, other in zip(self.downsamp_modules, others, strict=True):
            x = other + halve(x)
        return tap("cam", self.final_layer(x), "NCHW")


VARIANTS = {
    "hrnet_w18_small": Config(16, first_dim=32, first_depth=1, modules=(1, 1, 1), depth=2),
    "hrnet_w18_small_v2": Config(18, first_depth=2, modules=(1, 3, 2), depth=2),
    "hrnet_w18": Config(18),
    "hrnet_w18_ssld": Config(18, head_bias=False),
    "hrnet_w30": Config(30),
    "hrnet_w32": Config(32),
    "hrnet_w40": Config(40),
    "hrnet_w44": Config(44),
    "hrnet_w48": Config(48),
    "hrnet_w48_ssld": Config(48, head_bias=False),
    "hrnet_w64": Config(64),
}
register(HRNet, VARIANTS)
