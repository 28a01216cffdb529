"""Hiera's list of tokens is unrolled, and the zoo says where in the image each token is."""

import pytest
import torch
import torch.nn.functional as F

from tests.models import light
from zoo.families.hiera import HALVINGS, merge, order, places, unroll
from zoo.probe import Grid, Tap, probe


@pytest.mark.parametrize("halvings", range(HALVINGS + 1))
def test_an_unrolled_list_is_seen_as_the_map_that_it_was(halvings):
    x = torch.randn(2, 16, 24, 5)
    tokens = unroll(x, halvings)
    seen = Tap(tokens, "NLC", Grid(0, 16, 24), order(16, 24, halvings)).as_map()
    assert torch.equal(seen, x.permute(0, 3, 1, 2))
    assert torch.equal(x.flatten(1, 2)[:, places(16, 24, halvings)], tokens)


def test_merging_an_unrolled_list_is_a_max_pool_of_the_map():
    x = torch.randn(2, 16, 24, 5)
    pooled = F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    assert torch.equal(merge(unroll(x, HALVINGS), 1), unroll(pooled, HALVINGS - 1))


def test_attention_of_the_first_stages_stays_inside_mask_units():
    made = light("hiera_tiny_224")
    with torch.inference_mode(), probe(attention=lambda _, weights: weights) as seen:
        made.build()(torch.randn(1, 3, made.height, made.width, dtype=torch.float64))
    for record in seen.attention:
        keys, queries = record.geometry.k_grid, record.geometry.q_grid
        sees = record.dense()[0] > 0
        unit_of = [
            torch.arange(grid.tokens).div(grid.width, rounding_mode="floor") * 2 // grid.height * 3
            + torch.arange(grid.tokens) % grid.width * 3 // grid.width
            for grid in (queries, keys)
        ]  # the image has 2 x 3 units
        if len(record.geometry.k_index) > 1:
            assert torch.equal(sees, unit_of[0][:, None] == unit_of[1])
        else:
            assert sees.all()
    assert [len(record.geometry.k_index) for record in seen.attention] == [6, 6, 6, 6, 1, 1, 1]
