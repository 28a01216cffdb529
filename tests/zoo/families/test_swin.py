"""Swin's windows: records equal what was computed, and every grid works."""

import pytest
import torch

import zoo
from tools.fill import fill, noise_image
from zoo.families.swin import WindowAttention
from zoo.layers.relative_position import resize_table
from zoo.probe import AttentionRecord, probe, whole

# grid, side of a window, shifted
CASES = [
    ((8, 12), 4, False),
    ((8, 12), 4, True),
    ((9, 14), 4, True),  # padded both ways
    ((4, 10), 4, True),  # shifted along the width alone
    ((3, 9), 4, True),  # the window shrinks to 3 x 4
    ((2, 3), 4, False),
]


def filled_attention(side: int, shifted: bool) -> WindowAttention:
    layer = WindowAttention(12, 3, side, shifted).double().eval().requires_grad_(False)
    layer.load_state_dict(fill(layer.state_dict()))
    return layer


def seen_attention(layer: WindowAttention, x: torch.Tensor) -> AttentionRecord:
    with probe(attention=whole) as seen:
        layer(x)
    (record,) = seen.attention
    return record


def values(layer: WindowAttention, x: torch.Tensor) -> torch.Tensor:
    """The values of the tokens of one image. (H, W, C) -> (heads, H * W, C / heads)."""
    return layer.qkv(x.flatten(0, 1)).chunk(3, -1)[2].unflatten(1, (layer.num_heads, -1)).transpose(0, 1)


@pytest.mark.parametrize(("grid", "side", "shifted"), CASES)
def test_record_rebuilds_what_the_layer_computed(grid, side, shifted):
    layer = filled_attention(side, shifted)
    x = torch.randn(2, *grid, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    record = seen_attention(layer, x)
    padding = layer.qkv.bias[24:].view(3, 1, 4)  # the value of every padding slot
    for i, image in enumerate(x):
        dense = record.dense(i)
        read = dense @ values(layer, image) + (1 - dense.sum(-1, keepdim=True)) * padding
        rebuilt = layer.proj(read.transpose(0, 1).flatten(1)).view(*grid, 12)
        torch.testing.assert_close(rebuilt, layer(x)[i], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("grid", "shifted"), [((8, 12), False), ((8, 12), True), ((4, 12), True), ((4, 4), True)])
def test_tokens_read_only_their_window_and_never_across_the_rolled_edge(grid, shifted):
    x = torch.randn(1, *grid, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    dense = seen_attention(filled_attention(4, shifted), x).dense()
    down, right = (2 if shifted and n > 4 else 0 for n in grid)
    y = (torch.arange(grid[0]).repeat_interleave(grid[1]) - down) // 4  # the window of each token
    x = (torch.arange(grid[1]).repeat(grid[0]) - right) // 4
    together = (y[:, None] == y) & (x[:, None] == x)
    assert (dense[:, ~together] < 1e-30).all()
    assert (dense[:, together] > 1e-12).all()


def test_mass_lost_to_padding_is_found():
    record = seen_attention(filled_attention(4, True), torch.ones(1, 9, 12, 12, dtype=torch.float64))
    g = record.geometry
    assert (g.q_index < 0).sum() == 3 * 12
    in_image = record.dense().sum(-1).unflatten(1, (9, 12))
    lost = (1 - in_image > 1e-3).all(0)
    expected = torch.zeros(9, 12, dtype=torch.bool)
    expected[1] = True  # rolled by 2, the rows stand 2345 6780 1---: row 1 shares its windows with padding
    assert torch.equal(lost, expected)
    assert in_image[:, ~expected].sub(1).abs().max() < 1e-12
    mass = torch.full((1, 108), 1 / 108, dtype=torch.float64)
    torch.testing.assert_close(record.pullback(mass)[0], mass[0] @ record.dense().mean(0))


def test_a_smaller_table_keeps_the_nearest_offsets():
    table = torch.randn(13, 13, 5, dtype=torch.float64)
    small = resize_table(table.flatten(0, 1), 7, (4, 2)).view(7, 3, 5)
    torch.testing.assert_close(small[2:5], table[5:8, 5:8])


@pytest.mark.parametrize("size", [(32, 32), (100, 36), (128, 192)])
def test_on_any_grid_an_image_gives_the_same_alone_and_in_a_batch(size):
    model = zoo.create("swin_s3_tiny_224", depths=(2, 2, 2, 2), dim=12, num_heads=(1, 2, 3, 4)).double()
    x = noise_image(2, *size)
    with torch.inference_mode():
        together, alone = model(x), torch.cat([model(x[:1]), model(x[1:])])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_a_size_that_patches_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="patches of 4x4"):
        zoo.create("swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1), dim=12)(torch.zeros(1, 3, 30, 32))


def test_windows_and_classes_are_read_off_a_checkpoint():
    small = zoo.create("swin_cifar", window=(4, 2, 3), num_classes=7)
    buffers = ("layers.0.blocks.0.attn.relative_position_index", "layers.0.blocks.1.attn_mask")  # in published files
    published = small.state_dict() | {key: torch.zeros(1) for key in buffers}
    again = zoo.create_from("swin_cifar", type(small).adapt(published))
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(small(x), again(x))


def test_windows_cut_in_inference_mode_serve_training():
    model, size = zoo.create("swin_cifar", dim=12), (36, 88)  # no other test has this size
    with torch.inference_mode():
        model(torch.zeros(1, 3, *size))
    model.train()(torch.zeros(2, 3, *size)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the reference's interpolation
@pytest.mark.parametrize("size", [(64, 96), (160, 100), (320, 256)])
def test_equal_to_the_reference_at_other_sizes(size):
    oracle, name = pytest.importorskip("tools.oracle", exc_type=ImportError), "swin_s3_small_224"
    narrow = {"depths": (2, 2, 2, 2), "num_heads": (1, 2, 3, 4)}
    _, weights = oracle.filled_reference(name, embed_dim=12, **narrow)
    theirs = oracle.timm.create_model(name, embed_dim=12, **narrow, img_size=size).eval().double()
    theirs.load_state_dict(oracle.timm.models.swin_transformer.checkpoint_filter_fn(weights, theirs))
    ours = zoo.create_from(name, weights, dim=12, **narrow)
    x = noise_image(1, *size)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-6)  # its tables are resized in float32
