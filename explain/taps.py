"""Find a layer by the name that its family gave it, and a cell by where it looks (zoo/probe.py)."""

from torch import Tensor

from explain.result import ExplanationError
from zoo.cells import Cells
from zoo.probe import Tap


def find_tap(taps: dict[str, Tap], tap: str) -> Tap:
    """Look up a tap by name; raise ExplanationError if the model does not have it."""
    if tap not in taps:
        raise ExplanationError(f"This model has no layer called {tap!r} to look at.")
    return taps[tap]


def nearest_cell(cells: Cells | None, shape: tuple[int, int], x: Tensor, place: tuple[float, float]) -> tuple[int, int]:
    """Row and column of the cell that looks nearest to a place, (down, across) from 0 to 1, in images x.

    If `cells` are not known, a grid of `shape` tiles the image evenly.
    """
    size = x.shape[-2], x.shape[-1]
    axes = cells or Cells.even(shape, size)
    row, col = (axis.nearest(share * side) for axis, share, side in zip(axes, place, size, strict=True))
    return row, col
