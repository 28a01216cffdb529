"""Split attention: several convolutions of one input, summed with weights that a small net gives to each channel.

Zhang et al. 2020, "ResNeSt: Split-Attention Networks", arXiv:2004.08955, section 3.1.
"""

from functools import partial

from torch import Tensor, nn

from zoo.layers.conv import conv
from zoo.layers.norm import BatchNormAct2d
from zoo.layers.width import make_divisible

RELU = partial(nn.ReLU, inplace=True)


class SplitAttention(nn.Module):
    """(B, dim, H, W) -> (B, dim, H/stride, W/stride), rounded up.

    The weights of the `radix` convolutions are a softmax over them, or a sigmoid if there is one. Everything is done in
    `groups` of channels.
    """

    def __init__(self, dim: int, radix: int, groups: int = 1, stride: int = 1):
        super().__init__()
        self.radix, self.groups = radix, groups
        hidden = max(32, make_divisible(dim * radix / 4))
        self.conv = conv(dim, dim * radix, 3, stride, groups * radix)
        self.bn0 = BatchNormAct2d(dim * radix, RELU)
        self.fc1 = nn.Conv2d(dim, hidden, 1, groups=groups)
        self.bn1 = BatchNormAct2d(hidden, RELU)
        self.fc2 = nn.Conv2d(hidden, dim * radix, 1, groups=groups)
        self.share = nn.Softmax(1) if radix > 1 else nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn0(self.conv(x)).unflatten(1, (self.radix, -1))  # (B, radix, dim, H, W)
        weights = self.fc2(self.bn1(self.fc1(x.sum(1).mean((2, 3), keepdim=True))))
        weights = self.share(weights.view(len(x), self.groups, self.radix, -1).transpose(1, 2))
        return (x * weights.reshape(len(x), self.radix, -1, 1, 1)).sum(1)
