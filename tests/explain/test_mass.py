"""Pullback preserves mass except what falls on padding, for synthetic attention of every kind in the families."""

import pytest
import torch
from torch import Tensor, nn

import explain
import zoo
from explain.attention import readout_mass, walk
from tests.models import build, noise
from zoo.probe import AttentionRecord, Geometry, Grid, attend, probe, tap, whole


def record(q_index: Tensor, k_index: Tensor, q_grid: Grid, k_grid: Grid, heads: int = 2) -> AttentionRecord:
    """Random attention weights for two images."""
    shape = 2 * len(q_index), heads, q_index.shape[1], k_index.shape[1]
    weights = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    geometry = Geometry(q_index, k_index, q_grid, k_grid)
    return AttentionRecord(nn.Identity(), weights / weights.sum(-1, keepdim=True), geometry)


def every(grid: Grid) -> Tensor:
    return torch.arange(grid.tokens)[None]


def windows(height: int, width: int, side: int, shift: int = 0) -> Tensor:
    """Token indices (W, side * side); -1 where a window exceeds the grid."""
    index = nn.functional.pad(torch.arange(height * width).view(height, width).roll((-shift, -shift), (0, 1)),
                              (0, -width % side, 0, -height % side), value=-1)  # fmt: skip
    return index.unflatten(1, (-1, side)).unflatten(0, (-1, side)).transpose(1, 2).flatten(2).flatten(0, 1)


def neighbours(height: int, width: int) -> Tensor:
    """Indices of the 3x3 neighbourhood of each place, -1 beyond the edge. (height * width, 9)."""
    padded = nn.functional.pad(torch.arange(height * width).view(height, width), (1, 1, 1, 1), value=-1)
    return padded.unfold(0, 3, 1).unfold(1, 3, 1).flatten(2).flatten(0, 1)


FINE, COARSE, PLAIN = Grid(1, 4, 6), Grid(1, 2, 3), Grid(0, 4, 6)
ODD, HALF = Grid(0, 5, 7), Grid(0, 3, 4)  # a stride of two rounds up
CARRIED = Grid(4, 4, 6)  # four carrier tokens before the patches
CARRIERS = torch.arange(4)[None]
BLOCKS = torch.arange(24).view(2, 2, 3, 2).transpose(1, 2).reshape(6, 4)  # the four fine patches of each coarse one

HATS = torch.cat([CARRIERS.T, BLOCKS[:4] + 4], 1)  # a carrier and its window; two blocks of the grid make no queries

RECORDS = {
    "dense": record(every(FINE), every(FINE), FINE, FINE),
    "pooled keys": record(every(FINE), every(COARSE), FINE, COARSE),
    "pooled keys of an odd grid": record(every(ODD), every(HALF), ODD, HALF),
    "pooled queries": record(every(COARSE), every(FINE), COARSE, FINE),
    "shifted windows": record(windows(4, 6, 2, 1), windows(4, 6, 2, 1), PLAIN, PLAIN),
    "carriers alone": record(CARRIERS, CARRIERS, CARRIED, CARRIED),
    "carriers and windows": record(HATS, HATS, CARRIED, CARRIED),
    "class attention": record(torch.zeros(1, 1, dtype=torch.long), every(FINE), FINE, FINE),
    "learned query": record(torch.zeros(1, 1, dtype=torch.long), every(FINE), Grid(1, 0, 0), FINE),
    "overlapping queries": record(neighbours(4, 6), every(PLAIN).expand(24, -1), PLAIN, PLAIN),
    "keys for several tokens": record(every(PLAIN), BLOCKS[None], PLAIN, PLAIN),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_no_mass_is_lost(kind):
    r = RECORDS[kind]
    g = r.between_positions
    mass = torch.rand(2, g.q_grid.tokens, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    read = r.pullback(mass)
    assert read.sum(1).tolist() == pytest.approx((mass * g.asks).sum(1).tolist())
    for image in (0, 1):
        dense = r.dense(image)
        assert torch.allclose(dense.sum(-1), g.asks.double().expand(2, -1))
        torch.testing.assert_close(read[image], mass[image] @ dense.mean(0))
        torch.testing.assert_close(r.pullback(mass, 1)[image], mass[image] @ dense[1])


@pytest.mark.parametrize("kind", RECORDS)
def test_rollout_preserves_mass(kind):
    """For the layer alone, and before layers whose grids do not nest in its own."""
    r = RECORDS[kind]
    grid = r.between_positions.q_grid
    start = torch.rand(2, grid.tokens, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    odd = Grid(r.between_positions.k_grid.prefix, 5, 7)
    for records in ([r], [record(every(odd), every(odd), odd, odd), r]):
        mass, found, _ = walk(records, start, lambda stayed, read: (stayed + read) / 2)
        assert mass.shape[1] == found.tokens
        assert mass.sum(1).tolist() == pytest.approx(start.sum(1).tolist())


def test_only_mass_on_padding_is_lost():
    index = windows(3, 5, 2)  # 3 x 5 is padded to 4 x 6
    padded = record(index, index, Grid(0, 3, 5), Grid(0, 3, 5))
    mass = torch.rand(2, 15, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    seat = {int(token): (w, s) for w, row in enumerate(index) for s, token in enumerate(row) if token >= 0}
    weights = padded.by_window().mean(2)
    lost = sum(mass[:, token] * weights[:, w, s, index[w] < 0].sum(-1) for token, (w, s) in seat.items())
    assert (mass.sum(1) - padded.pullback(mass).sum(1)).tolist() == pytest.approx(lost.tolist())


def test_a_token_that_makes_no_query_keeps_its_mass():
    start = torch.zeros(2, CARRIED.tokens, dtype=torch.float64)
    start[:, 10] = 1
    mass, _, _ = walk([RECORDS["carriers alone"]], start, lambda stayed, read: (stayed + read) / 2)
    assert torch.equal(mass, start)


def test_a_key_for_several_tokens_divides_its_mass_evenly():
    one = record(torch.zeros(1, 1, dtype=torch.long), torch.tensor([[[0, 1, 2, 5]]]), Grid(0, 1, 6), Grid(0, 1, 6))
    mass = torch.zeros(2, 6, dtype=torch.float64)
    mass[:, 0] = 1
    assert one.pullback(mass)[0].tolist() == [0.25, 0.25, 0.25, 0, 0, 0.25]


class Channels(zoo.Backbone):
    """Attention between channels and nothing else."""

    num_classes, readout = 3, "mean"

    def forward(self, x: Tensor) -> Tensor:
        v = x.flatten(2)[:, None]  # (B, 1, C, N)
        y = attend(lambda: (v @ v.transpose(-2, -1)).softmax(-1), v, layer=self, geometry=None)
        return tap("cam", y[:, 0].unflatten(2, x.shape[2:]), "NCHW").mean((2, 3))


def test_attention_between_channels_is_recorded_but_never_drawn_as_a_map():
    x = torch.randn(1, 3, 4, 4)
    with torch.inference_mode(), probe(attention=whole) as seen:
        Channels()(x)
    assert seen.attention[0].geometry is None
    assert seen.attention[0].weights.shape == (1, 1, 3, 3)
    for method in ("attention", "rollout", "chefer"):
        with pytest.raises(explain.ExplanationError, match="no attention between positions"):
            explain.explain(Channels(), x, method)


def test_as_map_restores_the_order_of_shuffled_tokens():
    rows = torch.randn(1, 1 + 6, 2)
    order = torch.tensor([3, 0, 5, 1, 4, 2])  # where each patch lies among the shuffled ones
    shuffled = torch.empty_like(rows[:, 1:])
    shuffled[:, order] = rows[:, 1:]
    with probe(taps={"cam", "stage1"}) as seen:
        tap("cam", torch.cat([rows[:, :1], shuffled], 1), "NLC", Grid(1, 2, 3), order)
        tap("stage1", rows, "NLC", Grid(1, 2, 3))
    assert torch.equal(seen.taps["cam"].as_map(), seen.taps["stage1"].as_map())


def test_a_class_against_itself_cancels_on_grids_that_do_not_nest():
    """For 36 x 52 pixels, the grids of the stages are 18 x 26, 9 x 13 and 5 x 7."""
    x = torch.randn(1, 3, 36, 52, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = explain.explain(build("swin_cifar"), x, "chefer", target=3, contrast=3)
    assert found.raw.abs().max() == 0


def test_rollout_is_refused_for_blocks_that_add_two_attentions():
    model = build("vit_small_patch16_18x2_224", depth=2, dim=32, num_heads=2)
    offers = {offer.method.key: offer for offer in explain.available(model)}
    for method in ("rollout", "chefer"):
        assert "cannot be followed" in offers[method].reason
    assert offers["attention"].ok


def test_attention_with_negative_weights_says_so():
    model = build("vit_dwee_patch16_reg1_gap_256", depth=2, dim=32, num_heads=2)
    x = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    plain = explain.explain(build("vit_cifar"), noise("vit_cifar"), "attention")
    assert any("negative" in note for note in explain.explain(model, x, "attention").notes)
    assert not any("negative" in note for note in plain.notes)


def test_readout_mass_sums_to_one():
    for grid in (Grid(1, 2, 3), Grid(0, 2, 3), Grid(1, 0, 0)):
        assert readout_mass(build("vit_cifar"), grid, 2).sum(1).tolist() == pytest.approx([1, 1])
