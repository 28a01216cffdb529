"""Tracks through a forward pass where in the image each tensor's cells look (zoo/cells.py).

Operations that move nothing (activations, norms, linear layers, attention) keep the cells; a sum of branches that look
at different positions looks at their mean; a grid that gets coarser without a convolution or pool was merged in blocks.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from zoo.cells import Axis, Cells


class Follow(TorchFunctionMode):
    """While open, every tensor made from `image` (B, 3, H, W) in this thread has cells, which `of` returns."""

    def __init__(self, image: Tensor):
        super().__init__()
        self.image = image
        self.pixels = Cells.even((image.shape[-2], image.shape[-1]), (image.shape[-2], image.shape[-1]))

    def of(self, x: Tensor) -> Cells | None:
        return self.pixels if x is self.image else getattr(x, "_cells", None)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        given, made = _tensors((args, kwargs)), _tensors(out)
        known = [(x, cells) for x in given if (cells := self.of(x)) is not None]
        if made and known:
            cells = self._made(func, args, kwargs, known, made[0])
            for x in made:
                if not any(x is other and self.of(x) is None for other in given):  # a table that was only converted
                    x._cells = cells  # pyright: ignore[reportAttributeAccessIssue]
        return out

    def _made(self, func: Any, args: Any, kwargs: Any, known: list[tuple[Tensor, Cells]], out: Tensor) -> Cells:
        """The cells of a call's result."""
        if move := MOVES.get(func):
            return move(known[0][1], out, *args, **kwargs)
        first = known[0][1]
        if len(known) == 1 or func in LEADS or all(cells is first for _, cells in known):
            return first
        # A gate or a table made from a coarser map says nothing about position: the tensor with most values leads.
        leader = max(known, key=lambda pair: pair[0].numel())[1]
        alike = {cells for _, cells in known if all(a[::2] == b[::2] for a, b in zip(cells, leader, strict=True))}
        return leader if len(alike) == 1 else _mean(list(alike))


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _mean(found: list[Cells]) -> Cells:
    down, across = (sum(cells[axis].start for cells in found) / len(found) for axis in (0, 1))
    return Cells(found[0].down._replace(start=down), found[0].across._replace(start=across))


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _slid(cells: Cells, x: Tensor, out: Tensor, *windows: tuple[int, int]) -> Cells:
    """`windows`: kernel, stride, padding and, perhaps, dilation, down and across each.

    If x is no merged grid, it is a batch of small windows cut from it: what is centred there moves nothing.
    """
    kernel, stride, padding, dilation = (*windows, (1, 1))[:4]
    centred = all(stride[i] == 1 and dilation[i] * (kernel[i] - 1) == 2 * padding[i] for i in (0, 1))
    if centred and not (cells.down.merges(x.shape[-2]) and cells.across.merges(x.shape[-1])):
        return cells
    axes, sides = cells.regrid((x.shape[-2], x.shape[-1])), (out.shape[-2], out.shape[-1])
    return Cells(*(axes[i].slide(sides[i], *(window[i] for window in windows)) for i in (0, 1)))


def _conv(
    cells: Cells, out: Tensor, x: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Cells:  # fmt: skip
    kernel, dilation = (weight.shape[-2], weight.shape[-1]), _pair(dilation)
    if padding == "same":
        padding = tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True))
    return _slid(cells, x, out, kernel, _pair(stride), _pair(0 if padding == "valid" else padding), dilation)


def _pooled(
    cells: Cells, out: Tensor, x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, *_: Any, **__: Any
) -> Cells:
    """No pool in the zoo is dilated."""
    kernel = _pair(kernel_size)
    return _slid(cells, x, out, kernel, _pair(stride) if stride else kernel, _pair(padding))


def _resized(cells: Cells, out: Tensor, x: Tensor, *_: Any, align_corners: bool | None = None, **__: Any) -> Cells:
    resize = Axis.stretch if align_corners else Axis.resize
    axes = cells.regrid((x.shape[-2], x.shape[-1]))
    return Cells(resize(axes.down, out.shape[-2]), resize(axes.across, out.shape[-1]))


def _padded(cells: Cells, out: Tensor, x: Tensor, pad: Any, *_: Any, **__: Any) -> Cells:
    """Pads come in pairs from the last axis on; the axes that are as long as the grid are its rows and columns."""
    first = next((i for i in (x.ndim - 2, 1) if 0 < i < x.ndim - 1 and x.shape[i : i + 2] == cells.shape), None)
    if first is None:
        return cells
    pads = [tuple(pad[2 * i : 2 * i + 2]) or (0, 0) for i in (x.ndim - 1 - first, x.ndim - 2 - first)]
    axes = zip(cells, pads, strict=True)
    return Cells(*(Axis(n + before + after, start - step * before, step) for (n, start, step), (before, after) in axes))


def _indexed(cells: Cells, out: Tensor, x: Tensor, index: Any) -> Cells:
    """x[:, ::2, ::2] keeps every second row and column; other indices take channels, images or tokens."""
    index = index if isinstance(index, tuple) else (index,)
    steps = [part for part in index if isinstance(part, slice) and (part.step or 1) > 1]
    if len(steps) != 2:
        return cells
    return Cells(*(axis.every(part.step, part.start or 0) for axis, part in zip(cells, steps, strict=True)))


MOVES: dict[Any, Callable[..., Cells]] = {
    torch.conv2d: _conv,
    torch.max_pool2d: _pooled,
    F.max_pool2d: _pooled,
    F.avg_pool2d: _pooled,
    F.adaptive_avg_pool2d: _resized,
    F.interpolate: _resized,
    F.pad: _padded,
    Tensor.__getitem__: _indexed,
}
# Products whose rows are the first factor's: the output of attention is where its queries are. And torch.add, used in
# place of +, where the first term is a shortcut: it tells the place where a branch leans to one side.
PRODUCTS = {torch.matmul, torch.bmm, Tensor.matmul, Tensor.__matmul__, Tensor.bmm, F.scaled_dot_product_attention}
LEADS = {*PRODUCTS, torch.add}
