"""Cells of parallel branches: their keys, their channels and what they compute."""

import torch
import torch.nn.functional as F

from zoo.layers.branches import MAX, MEAN, MEAN_INSIDE, Cell

CELL = {"one": [(2, 1)], "flat_{}": [(3, 1), [(4, (1, 3)), (5, (3, 1))]], "deep.{}": [MEAN, (6, 3)], "pool": [MEAN]}


def test_keys_number_the_steps_and_channels_add_up():
    cell = Cell(7, CELL, first=1)
    convs = {key.removesuffix(".conv.weight"): value for key, value in cell.state_dict().items() if "conv" in key}
    assert list(convs) == ["one", "flat_1", "flat_2a", "flat_2b", "deep.2"]  # a function has a number, too
    assert [tuple(weight.shape[:2]) for weight in convs.values()] == [(2, 7), (3, 7), (4, 3), (5, 3), (6, 7)]
    assert cell.dim == 2 + 4 + 5 + 6 + 7


def test_branches_are_concatenated_in_their_order():
    cell, x = Cell(7, CELL, first=1).eval(), torch.randn(1, 7, 6, 5)
    inside = cell.flat_1(x)
    parts = [cell.one(x), cell.flat_2a(inside), cell.flat_2b(inside), cell.get_submodule("deep.2")(MEAN(x)), MEAN(x)]
    torch.testing.assert_close(cell(x), torch.cat(parts, 1))


def test_a_stride_leaves_out_what_a_whole_kernel_does_not_fit_into():
    cell = Cell(2, {"conv": [(3, 3, 2)], "pool": [MAX]})
    assert cell(torch.randn(1, 2, 8, 9)).shape == (1, 5, 3, 4)
    assert Cell(2, {"conv": [(3, 3, 1, 0)]})(torch.randn(1, 2, 8, 9)).shape == (1, 3, 6, 7)


def test_the_two_means_differ_only_at_the_border():
    x = torch.rand(1, 1, 5, 5)
    padded, inside = MEAN(x), MEAN_INSIDE(x)
    torch.testing.assert_close(padded[..., 1:-1, 1:-1], inside[..., 1:-1, 1:-1])
    torch.testing.assert_close(inside * F.avg_pool2d(torch.ones(1, 1, 5, 5), 3, 1, 1), padded)
    torch.testing.assert_close(inside[..., 0, 0], x[..., :2, :2].mean((2, 3)))
