"""Finding a layer by the name that its family gave it (zoo/probe.py)."""

from explain.result import ExplanationError
from zoo.probe import Tap


def find_tap(taps: dict[str, Tap], tap: str) -> Tap:
    """Look up a tap that was asked for; refuse, in words, one that the model does not have."""
    if tap not in taps:
        raise ExplanationError(f"This model has no layer called {tap!r} to look at.")
    return taps[tap]


def cell_at(grid: tuple[int, int], place: tuple[float, float]) -> tuple[int, int]:
    """The cell, row and column, of a grid (height, width) that holds a place, (down, across) from 0 to 1."""
    row, col = (min(max(int(share * cells), 0), cells - 1) for share, cells in zip(place, grid, strict=True))
    return row, col
