"""Rotary positions: turns computed by hand, and every grid compared with the reference."""

import pytest
import torch

import zoo
from tools.fill import noise_image
from zoo.layers.rotary import (
    AxialRotary,
    CentredRotary,
    HalfTurns,
    HalvesRotary,
    MixedRotary,
    NeighbourTurns,
    QuartersRotary,
    rotary_turns,
)
from zoo.probe import Grid, probe, whole

GRID, DIM = Grid(2, 3, 5), 16  # two prefix tokens, three rows, five columns
FLOAT64 = torch.float64
TURNS = {
    "axial": AxialRotary(start=1.0).turns(GRID, DIM, FLOAT64),
    "stretched": AxialRotary(reference=16, columns_first=True).turns(GRID, DIM, FLOAT64),
    "halves": HalvesRotary().turns(GRID, DIM, FLOAT64),
    "quarters": QuartersRotary(columns_first=True).turns(GRID, DIM, FLOAT64),
    "centred": CentredRotary().turns(GRID, DIM, FLOAT64),
    "mixed": MixedRotary(2, 3, DIM)(GRID, FLOAT64)[1],
}


def unit(channel: int, grid: Grid) -> torch.Tensor:
    """The same query in every place, with one channel at 1. (1, N, 1, DIM)."""
    x = torch.zeros(1, grid.tokens, 1, DIM, dtype=FLOAT64)
    x[..., channel] = 1
    return x


def angle(x: torch.Tensor, first: int, second: int) -> torch.Tensor:
    """The angle by which a pair of channels was turned. (1, N, 1, DIM) -> (N,)."""
    return torch.atan2(x[0, :, 0, second], x[0, :, 0, first])


@pytest.mark.parametrize("turns", TURNS.values(), ids=TURNS)
def test_the_score_of_two_tokens_depends_only_on_their_offset(turns):
    q, k = torch.randn(2, 1, 1, 3, DIM, dtype=FLOAT64).expand(-1, -1, GRID.tokens, -1, -1)
    scores = torch.einsum("bqhd,bkhd->hqk", turns.turn(q), turns.turn(k))[:, 2:, 2:]
    y, x = torch.arange(3).repeat_interleave(5), torch.arange(5).repeat(3)
    apart = 9 * (y[:, None] - y + 2) + (x[:, None] - x + 4)
    groups = [scores[:, apart == step] for step in apart.unique()]
    for group in groups:
        torch.testing.assert_close(group, group[:, :1].expand_as(group), rtol=0, atol=1e-5)  # angles are float32
    assert torch.stack([group[:, 0] for group in groups]).std(0).min() > 0.1


@pytest.mark.parametrize("turns", TURNS.values(), ids=TURNS)
def test_prefix_tokens_are_not_turned_and_no_length_changes(turns):
    x = torch.randn(2, GRID.tokens, 3, DIM, dtype=FLOAT64)
    turned = turns.turn(x)
    assert torch.equal(turned[:, :2], x[:, :2])
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("rotary", "apart"), [(AxialRotary(), 1), (QuartersRotary(), DIM // 4)])
def test_rows_turn_the_first_half_and_columns_the_second(rotary, apart):
    turns = rotary.turns(GRID, DIM, FLOAT64)
    by_row, by_column = (angle(turns.turn(unit(c, GRID)), c, c + apart)[2:].view(3, 5) for c in (0, DIM // 2))
    torch.testing.assert_close(by_row, torch.arange(3.0, dtype=FLOAT64)[:, None].expand(3, 5))
    places = torch.arange(5.0, dtype=FLOAT64).expand(3, 5)
    torch.testing.assert_close(by_column, (places + torch.pi) % (2 * torch.pi) - torch.pi)


def test_any_grid_is_stretched_over_the_reference():
    coarse, fine = (AxialRotary(reference=4).turns(Grid(0, n, n), DIM, FLOAT64) for n in (2, 4))
    torch.testing.assert_close(coarse.unit.view(2, 2, -1), fine.unit.view(4, 4, -1)[::2, ::2])


def test_centred_places_do_not_depend_on_the_size():
    grid = Grid(0, 1, 2)  # the row stands at 0, the columns at -1/2 and 1/2: half a turn to either side
    turns = CentredRotary().turns(grid, DIM, FLOAT64)
    turned = turns.turn(unit(0, grid) + unit(DIM // 4, grid))
    half = DIM // 2
    assert angle(turned, 0, half).abs().max() < 1e-12
    assert (angle(turned, DIM // 4, half + DIM // 4).abs() - torch.pi).abs().max() < 1e-6


def test_both_orders_of_channels_turn_alike():
    angles = torch.randn(GRID.tokens, 1, DIM // 2, dtype=FLOAT64)
    x = torch.randn(2, GRID.tokens, 3, DIM, dtype=FLOAT64)
    neighbours = NeighbourTurns(torch.polar(torch.ones_like(angles), angles)).turn(x)
    halves = HalfTurns(angles.cos().repeat(1, 1, 2), angles.sin()).turn(x.unflatten(-1, (-1, 2)).mT.flatten(-2))
    torch.testing.assert_close(halves.unflatten(-1, (2, -1)).mT.flatten(-2), neighbours)


@pytest.mark.parametrize("rotary", [AxialRotary(), CentredRotary()])
def test_turns_made_in_inference_mode_serve_training_and_half_precision(rotary):
    place = GRID, 3 * DIM, torch.float32, torch.device("cpu")  # no other test has this dimension
    with torch.inference_mode():
        turns = rotary_turns(rotary, *place)
    assert rotary_turns(rotary, *place) is turns
    x = torch.randn(1, GRID.tokens, 1, 3 * DIM, requires_grad=True)
    y = turns.turn(x)
    y.pow(2).sum().backward()
    torch.testing.assert_close(x.grad, 2 * x)  # a turn keeps lengths
    low = turns.turn(x.bfloat16())
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), y, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name", ["eva02_base_patch16_clip_224", "vit_small_patch16_rope_mixed_ape_224"])
def test_record_rebuilds_what_the_layer_computed(name):
    model = zoo.create(name, depth=1).double().requires_grad_(False)
    layer = model.blocks[0].attn
    x = torch.randn(1, GRID.tokens, model.num_features, dtype=FLOAT64)
    (turns,) = model.turns(GRID, x)
    with probe(attention=whole) as seen:
        expected = layer(x, GRID, turns)
    read = seen.attention[0].weights @ layer.project(x)[2].transpose(1, 2)
    torch.testing.assert_close(layer.proj(layer.norm(read.transpose(1, 2).flatten(2))), expected)


@pytest.mark.oracle
@pytest.mark.parametrize("size", [(144, 208), (320, 96)])
@pytest.mark.parametrize(
    "name",
    [
        "eva02_base_patch16_clip_224",
        "vit_small_patch16_rope_ape_224",
        "vit_small_patch16_rope_mixed_224",
        "vit_medium_patch16_rope_reg1_gap_256",
        "vit_pe_core_tiny_patch16_384",
        "vit_pe_spatial_tiny_patch16_512",
        "vit_tiny_patch16_dinov3_qkvb",
    ],
)
def test_equal_to_the_reference_at_other_sizes(name, size):
    oracle = pytest.importorskip("tools.oracle", exc_type=ImportError)
    _, weights = oracle.filled_reference(name, depth=2)
    theirs = oracle.timm.create_model(name, depth=2, img_size=size).eval().double()
    theirs.load_state_dict(oracle.timm.models.eva.checkpoint_filter_fn(weights, theirs))
    ours = zoo.create_from(name, weights, depth=2)
    x = noise_image(1, *size)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-9)
