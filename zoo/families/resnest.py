"""ResNeSt: a ResNet whose 3x3 conv is several, mixed by weights that each group of channels learns to give them.

    bottleneck -> 1x1 conv -> split attention -> (3x3 mean, where the grid is halved) -> 1x1 conv -> + shortcut -> relu
    split attention -> 3x3 convs -> sum -> mean over the grid -> two small layers -> softmax over the convs
                    -> weighted sum

Zhang et al. 2020, "ResNeSt: Split-Attention Networks", arXiv:2004.08955. 4s2x40d: 4 convs, 2 groups of 40 channels in
the first stage. All have ResNet-D's shortcuts and a stem of three 3x3 convs (d), which is twice as wide in the e rows.
"""

from functools import partial

from torch import Tensor, nn

from zoo.families.resnet import (
    RESNET26,
    RESNET50,
    RESNET101,
    RESNET200,
    RESNET269,
    BasicBlock,
    Block,
    Config,
    ResNet,
    resnet_d,
)
from zoo.layers.conv import conv
from zoo.layers.split_attention import SplitAttention
from zoo.registry import register


class SplitBottleneck(Block):
    """(B, dim_in, H, W) -> (B, dims[2], H/stride, W/stride), rounded up.

    `radix` convs are mixed; the grid is halved after that, or before it if `mean_first`.
    """

    def __init__(
        self,
        dim_in: int,
        dims: tuple[int, ...],
        full: int,
        stride: int,
        drop_path: float,
        cfg: Config,
        radix: int = 2,
        mean_first: bool = False,
    ):
        super().__init__(dim_in, dims, full, stride, drop_path, cfg)
        mean = nn.AvgPool2d(3, 2, 1) if stride == 2 else nn.Identity()
        self.before, self.after = (mean, nn.Identity()) if mean_first else (nn.Identity(), mean)
        self.conv1, self.bn1 = conv(dim_in, dims[0], 1), cfg.norm(dims[0])
        self.conv2 = SplitAttention(dims[1], radix, cfg.groups)
        self.conv3, self.bn3 = conv(dims[1], dims[2], 1), cfg.norm(dims[2])

    def branch(self, x: Tensor) -> Tensor:
        x = self.conv2(self.before(self.bn1(self.conv1(x)).relu_()))
        return self.bn3(self.conv3(self.after(x)))


class ResNeSt(ResNet):
    """As ResNet."""

    no_attention = "its weights mix convolutions, the same at every position"


nest = partial(resnet_d, kinds=(BasicBlock, SplitBottleneck))
nest_e = partial(nest, stem=(64, 64, 128))
SPLIT1, SPLIT4 = (partial(SplitBottleneck, radix=radix, mean_first=True) for radix in (1, 4))

VARIANTS = {
    "resnest14d": nest(RESNET26, depths=(1, 1, 1, 1)),
    "resnest26d": nest(RESNET26),
    "resnest50d": nest(RESNET50),
    "resnest50d_1s4x24d": nest(RESNET50, kinds=(BasicBlock, SPLIT1), groups=4, group_width=24),
    "resnest50d_4s2x40d": nest(RESNET50, kinds=(BasicBlock, SPLIT4), groups=2, group_width=40),
    "resnest101e": nest_e(RESNET101),
    "resnest200e": nest_e(RESNET200),
    "resnest269e": nest_e(RESNET269),
}
register(ResNeSt, VARIANTS)
