"""Convolutions that families share: padded so that only strides change the grid, and followed by a batch norm."""

from torch import Tensor, nn

from zoo.layers.norm import Act, BatchNormAct2d


def conv(dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Make a convolution without a bias, as a norm follows it. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride).

    An odd kernel is padded, so the grid is rounded up; an even one cuts patches without padding.
    """
    return nn.Conv2d(dim_in, dim, kernel, stride, kernel // 2 if kernel % 2 else 0, groups=groups, bias=False)


class ConvNorm(nn.Module):
    """conv -> batch norm -> (act). (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""

    def __init__(self, dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1, act: Act | None = None):
        super().__init__()
        self.conv = conv(dim_in, dim, kernel, stride, groups)
        self.bn = BatchNormAct2d(dim, act) if act else nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))
