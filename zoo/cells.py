"""Where in the image the cells of a feature map look. zoo/follow.py tracks that through a forward pass.

A convolution or pool of kernel k, stride s, padding p and dilation d centres output i on input i s - p + d (k - 1) / 2.
So after a padded stride-2 3x3 convolution cell 0 is centred on the first pixel, not in the middle of a 2x2 block, and
the cells of a ResNet lie half a cell further up and left than an even tiling of the image would put them.
"""

from typing import NamedTuple


class Axis(NamedTuple):
    """Cells along one axis: cell i is centred at `start + i * step` pixels from the image's upper or left edge."""

    size: int  # cells
    start: float
    step: float

    def slide(self, size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> "Axis":
        """The cells of a convolution's or a pool's output."""
        return Axis(size, self.start + self.step * (dilation * (kernel - 1) / 2 - padding), self.step * stride)

    def resize(self, size: int) -> "Axis":
        """The cells of an output whose `size` cells share the same span evenly, as interpolation makes them."""
        ratio = self.size / size
        return Axis(size, self.start + self.step * (ratio - 1) / 2, self.step * ratio)

    def stretch(self, size: int) -> "Axis":
        """The same if the first and the last of the `size` cells stay where they were (`align_corners`)."""
        return Axis(size, self.start, self.step * (self.size - 1) / max(size - 1, 1))

    def regrid(self, size: int) -> "Axis":
        """The cells after blocks were merged into one each, or split into blocks; the last is padded or dropped."""
        if size < self.size:
            block = -(-self.size // size)
            block = block if -(-self.size // block) == size else self.size // size
            return Axis(size, self.start + self.step * (block - 1) / 2, self.step * block)
        block = -(-size // self.size)
        return Axis(size, self.start - self.step * (1 - 1 / block) / 2, self.step / block)

    def merges(self, size: int) -> bool:
        """Whether blocks, the last perhaps padded, make `size` cells."""
        block = -(-self.size // size)
        return -(-self.size // block) == size

    def every(self, step: int, first: int = 0) -> "Axis":
        """The cells that remain if every `step`-th is kept, from `first` on."""
        return Axis(-(-(self.size - first) // step), self.start + self.step * first, self.step * step)

    def nearest(self, pixel: float) -> int:
        """The cell whose centre is nearest to a position in pixels."""
        return min(max(round((pixel - self.start) / self.step), 0), self.size - 1)


class Cells(NamedTuple):
    """A grid of cells over the image, in pixels: rows go down, columns across."""

    down: Axis
    across: Axis

    @classmethod
    def even(cls, shape: tuple[int, int], size: tuple[int, int]) -> "Cells":
        """Tile an image of `size` (height, width) evenly with a grid of `shape`."""
        return cls(*(Axis(n, side / n / 2, side / n) for n, side in zip(shape, size, strict=True)))

    @property
    def shape(self) -> tuple[int, int]:
        return self.down.size, self.across.size

    def regrid(self, shape: tuple[int, int]) -> "Cells":
        return Cells(self.down.regrid(shape[0]), self.across.regrid(shape[1]))
