"""Cells of a search: what their tables say, and how the grid is halved."""

import pytest
import torch
import torch.nn.functional as F

from zoo.layers.conv import pad_same
from zoo.layers.search_cell import NEW, OLD, Cell, Halve, Plan, Pool, max3, mean3, same, sep3

PLAN = Plan(((mean3, NEW, same, OLD), (max3, 0, same, NEW), (same, OLD, same, 1)), (OLD, 0, 2))


def cell(**changes):
    return Cell(**{"dims_in": (5, 7), "inner": 4, "plan": PLAN, "stride": 1, "fit": "conv", "drop_path": 0.0} | changes)


def test_a_table_says_what_is_added_up_and_joined():
    made, old, new = cell().eval(), torch.randn(2, 5, 6, 9), torch.randn(2, 7, 6, 9)
    old_4, new_4 = made.conv_prev_1x1(old), made.conv_1x1(new)
    zero = F.avg_pool2d(new_4, 3, 1, 1, count_include_pad=False) + old_4
    one = F.max_pool2d(zero, 3, 1, 1) + new_4
    torch.testing.assert_close(made(old, new), torch.cat([old_4, zero, old_4 + one], 1))
    assert made.dim == 12


def test_only_operations_on_the_inputs_halve_the_grid():
    plan = Plan(((sep3, NEW, max3, OLD), (sep3, 0, same, NEW)), (0, 1))
    made = cell(plan=plan, stride=2)
    assert made(torch.randn(2, 5, 7, 10), torch.randn(2, 7, 7, 10)).shape == (2, 8, 4, 5)
    strides = {name: m.stride[0] for name, m in made.named_modules() if isinstance(m, torch.nn.Conv2d)}
    assert {name for name, stride in strides.items() if stride == 2} == {
        "comb_iter_0_left.separable_1.depthwise_conv2d",
        "comb_iter_1_right.conv",
    }


@pytest.mark.parametrize(("fit", "size"), [("conv", (5, 8)), ("halve", (9, 16)), ("halve_here", (9, 16))])
def test_the_older_input_is_fitted_to_the_newer_one(fit, size):
    made = cell(fit=fit)
    assert made(torch.randn(2, 5, *size), torch.randn(2, 7, 5, 8)).shape == (2, 12, 5, 8)
    halving = [key for key in made.state_dict() if key.endswith("path_1.conv.weight")]
    here, inside = ["path_1.conv.weight"], ["conv_prev_1x1.path_1.conv.weight"]
    assert halving == {"conv": [], "halve": inside, "halve_here": here}[fit]


def test_an_input_that_is_kept_is_pooled_and_then_brought_to_the_cells_channels():
    made = cell(plan=Plan(((max3, OLD, max3, NEW),), (0,)), stride=2, fit="keep").eval()
    x, new = torch.randn(1, 5, 6, 5), torch.randn(1, 7, 6, 5)
    pooled = made.get_submodule("comb_iter_0_left.max_pool")(x)
    left = made.get_submodule("comb_iter_0_left.bn")(made.get_submodule("comb_iter_0_left.conv")(pooled))
    torch.testing.assert_close(made(x, new), left + Pool(2)(made.conv_1x1(new)))


@pytest.mark.parametrize("size", [(6, 7), (7, 6), (1, 2), (2, 1)])
def test_pools_are_padded_as_in_tensorflow_and_a_strided_mean_counts_zeros(size):
    x = torch.randn(2, 3, *size)
    lowest = x.min() - 1
    highest = F.max_pool2d(pad_same(x - lowest, (3, 3), (2, 2)), 3, 2) + lowest
    torch.testing.assert_close(Pool(2)(x), highest)
    torch.testing.assert_close(Pool(2, mean=True)(x), F.avg_pool2d(pad_same(x, (3, 3), (2, 2)), 3, 2))


def test_a_mean_that_keeps_the_grid_counts_only_the_cells_that_are_there():
    assert torch.equal(Pool(1, mean=True)(torch.ones(1, 1, 4, 5)), torch.ones(1, 1, 4, 5))


def test_one_path_reads_even_pixels_and_the_other_odd_ones():
    halve, x = Halve(1, 2).eval(), torch.arange(15.0).view(1, 1, 3, 5)
    for path in (halve.path_1, halve.path_2):
        torch.nn.init.ones_(path.conv.weight)
    even, odd = halve(x)[0] * (1 + halve.final_path_bn.eps) ** 0.5
    torch.testing.assert_close(even, torch.tensor([[0.0, 2, 4], [10, 12, 14]]))
    torch.testing.assert_close(odd, torch.tensor([[6.0, 8, 0], [0, 0, 0]]))


def test_training_drops_paths_with_an_operation_and_keeps_the_others():
    made = cell(plan=Plan(((mean3, NEW, same, OLD), (same, NEW, same, OLD)), (0, 1)), fit="keep", dims_in=(4, 4))
    old, new = torch.randn(2, 1, 4, 5, 5)
    made.drop_path.rate = 1 - 1e-9
    first, second = made(old, new).chunk(2, 1)
    torch.testing.assert_close(first, old)
    assert not torch.allclose(second, old)
