"""Blocks that read a rim around them, on grids that blocks do not divide."""

import pytest
import torch
import torch.nn.functional as F

from zoo.layers.halo_attention import HaloAttention
from zoo.layers.relative_scores import RelativeScores
from zoo.probe import probe, whole

HEIGHT, WIDTH = 7, 10


@pytest.fixture(params=[1, 2], ids=["stride 1", "stride 2"])
def halo(request):
    torch.manual_seed(0)
    return HaloAttention(8, request.param, num_heads=2, block=4, halo=1).double().eval()


@pytest.fixture
def grid():
    return torch.randn(2, 8, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def recorded(halo, grid):
    with torch.no_grad(), probe(halo, grid, attention=whole) as seen:
        out = halo(grid)
    return out, seen.attention[0]


def test_a_cell_reads_its_block_and_the_rim(halo, grid):
    _, record = recorded(halo, grid)
    reads = record.dense().sum(0) > 0
    rows, columns = torch.arange(HEIGHT), torch.arange(WIDTH)

    def reach(n):  # (askers, cells) along an axis
        asking = n[:: halo.step, None]
        first = asking // 4 * 4
        return (n >= first - 1) & (n <= first + 4)

    expected = reach(rows)[:, None, :, None] & reach(columns)[None, :, None, :]
    assert torch.equal(reads, expected.flatten(2).flatten(0, 1))


def test_recorded_weights_times_values_are_the_output(halo, grid):
    out, record = recorded(halo, grid)
    v = halo.kv(grid).unflatten(1, (2, -1))[:, :, halo.head_dim :].flatten(3)  # (B, h, d, N)
    for image in (0, 1):
        expected = record.dense(image) @ v[image].transpose(1, 2)  # (h, Nq, d)
        torch.testing.assert_close(out[image].flatten(1), expected.transpose(1, 2).flatten(0, 1))


def test_a_grid_that_blocks_do_not_divide_is_padded_with_zeros(halo, grid):
    out = halo(grid)
    padded = halo(F.pad(grid, (0, -WIDTH % 4, 0, -HEIGHT % 4)))
    torch.testing.assert_close(out, padded[:, :, : out.shape[2], : out.shape[3]])


def test_relative_scores_by_hand():
    """Query (1, 0) of a 2x2 block and key (2, 1) of a 3x3 window are 1 row and 1 column apart."""
    scores = RelativeScores(2, 3, 4).double()
    q = torch.randn(4, 4, dtype=torch.float64)
    expected = q[2] @ (scores.height_rel[1 + 2] + scores.width_rel[1 + 2])
    torch.testing.assert_close(scores(q)[2, 2 * 3 + 1], expected)
    assert scores(q).shape == (4, 9)
