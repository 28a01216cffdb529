"""Which tokens a window holds, by hand, and that merging undoes cutting."""

import pytest
import torch

from zoo.layers.windows import grid_windows, tiles, windows

CPU = torch.device("cpu")
CUTS = {
    "windows": lambda h, w: windows(h, w, (2, 2), False, CPU),
    "shifted": lambda h, w: windows(h, w, (2, 2), True, CPU),
    "tiles": lambda h, w: tiles(h, w, (2, 2), CPU),
    "grid": lambda h, w: grid_windows(h, w, (2, 2), CPU),
}


def test_tiles_are_rectangles_padded_below_and_on_the_right():
    assert tiles(2, 3, (2, 2), CPU).index.tolist() == [[0, 1, 3, 4], [2, -1, 5, -1]]
    assert tiles(1, 2, (2, 2), CPU).index.tolist() == [[0, 1, -1, -1]]  # windows() would shrink here
    assert windows(1, 2, (2, 2), False, CPU).index.tolist() == [[0, 1]]


def test_a_grid_window_takes_one_token_of_each_tile():
    """A grid of 4x6 in 2x2 tiles of 2x3: the first window has the first token of each tile."""
    found = grid_windows(4, 6, (2, 2), CPU).index
    assert found[0].tolist() == [0, 3, 12, 15]
    assert found[1].tolist() == [1, 4, 13, 16]
    assert found.shape == (6, 4)


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("size", [(4, 6), (3, 5), (1, 7)])
def test_merging_undoes_cutting_and_every_token_has_one_seat(cut, size):
    plan = cut(*size)
    x = torch.randn(2, *size, 3)
    pieces = plan.cut(x)
    assert pieces.shape == (2 * len(plan.index), plan.index.shape[1], 3)
    assert torch.equal(plan.merge(pieces), x)
    assert not pieces.unflatten(0, (2, -1))[:, plan.index < 0].any()
    assert plan.geometry().seats.tolist() == [1] * (size[0] * size[1])
