"""NaFlexViT: images of different shapes in one batch, alone and compared with the reference."""

import pytest
import torch
from PIL import Image

import zoo
from tools.fill import fill, noise_image
from tools.golden_preprocess import noise_images
from zoo.layers.embed import patchify
from zoo.preprocess import preprocess_native, size_within
from zoo.probe import Grid, probe, whole
from zoo.registry import variant

CHECKPOINT = zoo.checkpoint("naflexvit_base_patch16_gap.e300_s576_in1k")
IMAGES = noise_images()
KINDS = tuple(
    f"naflexvit_base_patch16_{kind}" for kind in ("gap", "par_gap", "parfac_gap", "map", "radio_v3", "siglip")
)
SMALL = {"depth": 2, "num_heads": 3}
SHAPES = [(4, 9), (7, 2), (3, 3)]  # rows and columns of patches


def build(name: str) -> zoo.Backbone:
    with torch.device("meta"):
        keys = zoo.create(name, dim=48, **SMALL).state_dict()
    return zoo.create_from(name, fill(keys), dim=48, **SMALL)


def batch(shapes: list[tuple[int, int]], tokens: int) -> dict[str, torch.Tensor]:
    """Noise images of these shapes as `preprocess_native` lays them out, in float64."""
    kinds = {
        "patches": torch.zeros(len(shapes), tokens, 768, dtype=torch.float64),
        "patch_coord": torch.zeros(len(shapes), tokens, 2, dtype=torch.long),
        "patch_valid": torch.zeros(len(shapes), tokens, dtype=torch.bool),
    }
    for i, (rows, columns) in enumerate(shapes):
        kinds["patches"][i, : rows * columns] = patchify(noise_image(1, 16 * rows, 16 * columns), 16)[0]
        kinds["patch_coord"][i, : rows * columns] = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
        kinds["patch_valid"][i, : rows * columns] = True
    return kinds


@pytest.mark.parametrize("size", [(500, 333), (97, 641), (1, 1), (3000, 2), (20000, 13), (1600, 1600)])
@pytest.mark.parametrize("tokens", [576, 128, 7])
def test_an_image_has_at_most_the_allowed_patches_and_keeps_its_proportions(size, tokens):
    height, width = size_within(size, tokens)
    rows, columns = height // 16, width // 16
    assert (16 * rows, 16 * columns) == (height, width)
    assert rows * columns <= tokens
    # One scale must give both sides before each is rounded up to whole patches.
    patches_per_pixel = [((n - 1) / side, n / side) for n, side in ((rows, size[1]), (columns, size[0]))]
    assert max(least for least, _ in patches_per_pixel) < min(most for _, most in patches_per_pixel)


def test_an_image_too_long_for_the_budget_is_refused():
    with pytest.raises(ValueError, match="cannot be shown in 0 patches"):
        size_within((30, 20), 0)


def test_patches_lie_where_their_coordinates_say():
    wide, square = IMAGES["500x333"], Image.new("RGB", (40, 40), (255, 0, 0))
    native = preprocess_native([wide, square], CHECKPOINT, tokens=60)
    assert [tuple(v.shape) for v in native.values()] == [(2, 60, 768), (2, 60, 2), (2, 60)]
    height, width = size_within(wide.size, 60)
    whole_image = torch.zeros(3, height, width)
    for values, (y, x) in zip(native["patches"][0], native["patch_coord"][0], strict=True):
        if values.any():
            whole_image[:, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16] = values.view(16, 16, 3).permute(2, 0, 1)
    assert torch.equal(patchify(whole_image[None], 16)[0], native["patches"][0, : height * width // 256])
    assert native["patch_valid"].sum(1).tolist() == [height * width // 256, 49]
    assert native["patches"][1, :49].view(49, 256, 3).unique(dim=1).tolist() == 49 * [[[1.0, -1.0, -1.0]]]
    assert not native["patches"][~native["patch_valid"]].any()


@pytest.mark.parametrize("name", KINDS)
def test_an_image_gives_the_same_plain_and_in_patches_alone_and_in_a_batch(name):
    model = build(name)
    with torch.inference_mode():
        together = model(batch(SHAPES, 50))
        for (rows, columns), logits in zip(SHAPES, together, strict=True):
            alone = model(batch([(rows, columns)], rows * columns))[0]
            plain = model(noise_image(1, 16 * rows, 16 * columns))[0]
            torch.testing.assert_close(alone, plain, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(logits, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["naflexvit_base_patch16_gap", "naflexvit_base_patch16_map"])
def test_no_token_reads_padding(name):
    model = build(name)
    x = batch(SHAPES, 50)
    with torch.inference_mode(), probe(attention=whole) as seen:
        looked_at = model(x)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), looked_at)
    prefix, length = model.prefix, 36  # the longest image's
    for record in seen.attention:
        assert record.geometry.k_grid == Grid(prefix, 1, length)
        skipped = prefix if record.weights.shape[-1] == length else 0
        for weights, (rows, columns) in zip(record.weights, SHAPES, strict=True):
            assert (weights[..., prefix + rows * columns - skipped :] == 0).all()
            torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))


@pytest.mark.parametrize("padding", [0, 14])
def test_attention_maps_to_the_grid_if_all_images_have_the_same_shape(padding):
    model = build("naflexvit_base_patch16_map")
    with torch.inference_mode(), probe(taps={"cam"}, attention=whole) as seen:
        model(batch([(4, 9), (4, 9)], 36 + padding))
    assert {record.geometry.k_grid for record in seen.attention} == {Grid(1, 4, 9)}
    assert seen.taps["cam"].as_map().shape == (2, 48, 4, 9)


def test_a_size_that_patches_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="64x90 cannot be cut into patches of 16x16"):
        build(KINDS[0])(noise_image(1, 64, 90))


@pytest.fixture
def oracle():
    return pytest.importorskip("tools.oracle", exc_type=ImportError)


@pytest.mark.oracle
@pytest.mark.parametrize("tokens", [576, 100])
def test_preprocess_native_is_bit_equal_to_timm(oracle, tokens):
    from timm.data.naflex_dataset import NaFlexCollator

    c = CHECKPOINT
    how = {"interpolation": c.interpolation, "mean": c.mean, "std": c.std, "crop_pct": c.crop}
    transform = oracle.timm.data.create_transform(
        input_size=(3, *c.size), naflex=True, patch_size=16, max_seq_len=tokens, patchify=True, **how
    )
    theirs, _ = NaFlexCollator(tokens)([(transform(image), 0) for image in IMAGES.values()])
    ours = preprocess_native(list(IMAGES.values()), c, None if tokens == 576 else tokens)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.oracle
def test_sizes_are_timms(oracle):
    from timm.data.naflex_transforms import get_image_size_for_seq

    generator = torch.Generator().manual_seed(0)
    sizes = [torch.randint(1, most, (200, 2), generator=generator) for most in (12, 4000)]
    for width, height in torch.cat(sizes).tolist():
        for tokens in (64, 576, 1023):
            assert size_within((width, height), tokens) == get_image_size_for_seq((height, width), 16, tokens)[1]


@pytest.mark.oracle
@pytest.mark.parametrize("name", KINDS)
def test_equal_to_timm_at_other_sizes_and_in_batches_of_different_shapes(oracle, name):
    theirs, weights = oracle.filled_reference(name, salt="native", embed_dim=48, **SMALL)
    ours = zoo.create_from(name, weights, dim=48, **SMALL)
    shown = [noise_image(1, 160, 96), noise_image(2, 320, 320), noise_image(1, 256, 256)]
    hidden = batch([(9, 4)], 36)
    hidden["patch_valid"][:, 10:15] = False
    with torch.inference_mode():
        for x in [*shown, batch(SHAPES, 50), batch([(20, 11), (16, 16)], 256), batch([(9, 4)], 36), hidden]:
            torch.testing.assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-9)


@pytest.mark.oracle
def test_images_through_timms_collator_and_model(oracle):
    theirs, weights = oracle.filled_reference("naflexvit_base_patch16_siglip", embed_dim=48, **SMALL)
    ours = zoo.create_from("naflexvit_base_patch16_siglip", weights, dim=48, **SMALL)
    x = preprocess_native([IMAGES["500x333"], IMAGES["641x97"]], CHECKPOINT, tokens=64)
    x["patches"] = x["patches"].double()
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-9)


@pytest.mark.oracle
@pytest.mark.parametrize("registers", [0, 4])
def test_a_plain_vits_file_is_read_as_timm_reads_it(oracle, registers):
    name = KINDS[-1]
    small = {"embed_dim": 48, "class_token": False, "reg_tokens": registers, "no_embed_class": True, "img_size": 96}
    vit = oracle.timm.create_model("vit_base_patch16_siglip_224", **small, **SMALL)
    layout = {key: torch.randn_like(value) for key, value in vit.state_dict().items()}
    model = oracle.timm.create_model(name, embed_dim=48, reg_tokens=registers, **SMALL)
    theirs = oracle.timm.models.naflexvit.checkpoint_filter_fn(dict(layout), model)
    ours = variant(name)[0].adapt(layout)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert zoo.create_from(name, ours, dim=48, registers=registers, **SMALL).embeds.places(6, 6).shape == (36, 48)
