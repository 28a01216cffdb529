"""BEiT's relative position biases at every size, and published files in other layouts, compared with timm."""

import pytest
import torch
from torch import Tensor

import zoo
from tools.fill import fill, noise_image
from zoo.cost import cost
from zoo.families.beit import Beit
from zoo.families.beit3 import Beit3
from zoo.families.eva import Attention
from zoo.layers.relative_position import offsets, relative_bias, resize_table, table_side
from zoo.probe import probe, whole

TINY = {"depth": 2, "dim": 24, "num_heads": 2}
THEIR_TINY = {"depth": 2, "embed_dim": 24, "num_heads": 2}
CPU = torch.device("cpu")


def filled(name: str, **overrides) -> zoo.Backbone:
    with torch.device("meta"):
        keys = zoo.create(name, **(TINY | overrides)).state_dict()
    return zoo.create_from(name, fill(keys), **(TINY | overrides))


def timm():
    return pytest.importorskip("tools.oracle", exc_type=ImportError).timm


def test_a_bias_depends_only_on_the_offset_and_the_class_token_has_its_own():
    table = torch.randn(7 * 5 + 3, 2)
    bias = relative_bias(table, 4, (4, 4), offsets(4, 3, CPU, class_token=True))
    assert bias.shape == (2, 13, 13)
    patches = bias[:, 1:, 1:].unflatten(2, (4, 3)).unflatten(1, (4, 3))
    assert torch.equal(patches[:, 1:, 1:, 1:, 1:], patches[:, :-1, :-1, :-1, :-1])
    assert torch.equal(patches[:, 3, 2, 0, 0], table[34])  # the key furthest up and to the left: the last offset
    assert torch.equal(bias[:, 0, 1:], table[-3][:, None].expand(2, 12))
    assert torch.equal(bias[:, 1:, 0], table[-2][:, None].expand(2, 12))
    assert torch.equal(bias[:, 0, 0], table[-1])


@pytest.mark.parametrize("size", [(1, 9), (30, 3), (5, 5)])
def test_a_resized_table_keeps_its_middle_its_ends_and_the_rows_of_the_class_token(size):
    table = torch.randn(9 * 9 + 3, 2, dtype=torch.float64)
    new = resize_table(table, 5, size)
    grid, old = new[:-3].view(2 * size[0] - 1, 2 * size[1] - 1, 2), table[:-3].view(9, 9, 2)
    assert torch.equal(new[-3:], table[-3:])
    torch.testing.assert_close(grid[size[0] - 1, size[1] - 1], old[4, 4])
    if size == (1, 9):  # the growth is solved to within 1e-6, so the ends nearly meet
        torch.testing.assert_close(grid[0, -1], old[4, 8], rtol=0, atol=1e-4)


def test_a_table_that_is_not_square_is_refused():
    assert table_side(torch.empty(27 * 27, 1)) == table_side(torch.empty(27 * 27 + 3, 1), class_token=True) == 14
    for rows in (1, 27 * 27, 27 * 29 + 3):
        with pytest.raises(ValueError, match=f"{rows} position biases a head fit no square grid"):
            table_side(torch.empty(rows, 1), class_token=True)


@pytest.mark.parametrize("name", ["beit_base_patch16_224", "beit3_base_patch16_224"])
@pytest.mark.parametrize("size", [(64, 96), (224, 224)])
def test_the_record_rebuilds_what_the_layer_computed(name, size):
    model = filled(name).requires_grad_(False)
    attn = model.get_submodule("blocks.0.attn")
    assert isinstance(attn, Attention)
    calls = []
    hook = attn.register_forward_hook(lambda _, given, computed: calls.append((given[0], computed)))
    with probe(attention=whole) as seen:
        logits = model(noise_image(2, *size))
    hook.remove()
    given, computed = calls[0]
    values = attn.project(given)[2].transpose(1, 2)  # (B, h, N, d)
    record = seen.attention[0]
    read = torch.stack([record.dense(i) @ values[i] for i in range(2)])
    rebuilt = attn.proj(attn.norm(read.transpose(1, 2).flatten(2)))
    torch.testing.assert_close(rebuilt, computed, rtol=0, atol=1e-12)
    torch.testing.assert_close(logits, model(noise_image(2, *size)), rtol=0, atol=1e-12)
    assert record.geometry.q_grid == (1, size[0] // 16, size[1] // 16)


def test_classes_and_size_are_read_off_a_checkpoint():
    small = filled("beit_base_patch16_224", img_size=96, num_classes=7)
    assert isinstance(small, Beit)
    published = small.state_dict() | {"blocks.0.attn.relative_position_index": torch.zeros(37, 37)}
    again = zoo.create_from("beit_base_patch16_224", Beit.adapt(published), **TINY)
    x = noise_image(1, 64, 112)
    assert torch.equal(small(x), again(x))


def test_indices_made_in_inference_mode_serve_training():
    model, size = zoo.create("beit_base_patch16_224", **TINY), (32, 176)  # no other test has this size
    with torch.inference_mode():
        model(torch.zeros(1, 3, *size))
    model.train()(torch.zeros(2, 3, *size)).sum().backward()
    assert model.get_parameter("blocks.0.attn.relative_position_bias_table").grad is not None


def test_cost_is_counted_at_any_size():
    assert cost("beit_base_patch16_224", (96, 160)).attention_layers == tuple(
        (f"blocks.{i}.attn", 12) for i in range(12)
    )


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the reference's interpolation
@pytest.mark.parametrize("size", [(10, 17), (14, 20), (24, 24), (3, 40), (1, 2)])
def test_a_table_is_resized_as_the_reference_resizes_it(size):
    table = torch.randn(27 * 27 + 3, 4, generator=torch.Generator().manual_seed(0))
    rows = (2 * size[0] - 1) * (2 * size[1] - 1) + 3
    theirs = timm().layers.resize_rel_pos_bias_table(table, size, (rows, 4))
    torch.testing.assert_close(resize_table(table, 14, size), theirs, rtol=0, atol=1e-5)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["beit_base_patch16_224", "beitv2_base_patch16_224"])
@pytest.mark.parametrize("size", [(64, 160), (256, 128), (240, 240)])
def test_a_checkpoint_at_another_size_gives_what_the_reference_gives(name, size):
    ours = filled(name, img_size=96)
    weights = ours.state_dict() | {f"blocks.{i}.attn.relative_position_index": torch.zeros(1) for i in range(2)}
    theirs = timm().create_model(name, **THEIR_TINY, img_size=size).eval().double()
    theirs.load_state_dict(timm().models.beit.checkpoint_filter_fn({"module": weights}, theirs))
    grown = timm().create_model(name, **THEIR_TINY, img_size=96).eval().double()
    grown.load_state_dict(ours.state_dict())
    grown.set_input_size(size)
    x = noise_image(1, *size)
    with torch.inference_mode():
        for reference in (theirs, grown):  # its tables are resized in float32
            torch.testing.assert_close(ours(x), reference(x), rtol=0, atol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("size", [(64, 160), (256, 240)])
def test_beit3_at_another_size_gives_what_the_reference_gives(size):
    ours = filled("beit3_base_patch16_224")
    theirs = timm().create_model("beit3_base_patch16_224", **THEIR_TINY, dynamic_img_size=True).eval().double()
    theirs.load_state_dict(ours.state_dict())
    x = noise_image(1, *size)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-6)  # its places are resized in float32


def unilm(dim: int, side: int) -> dict[str, Tensor]:
    """A BEiT-3 as microsoft/unilm saves it, with one layer: branch A reads images, branch B texts."""
    linear = {"k_proj": (dim, dim), "v_proj": (dim, dim), "q_proj": (dim, dim), "out_proj": (dim, dim)}
    shapes: dict[str, tuple[int, ...]] = {}
    for branch in "AB":
        for layer, shape in linear.items():
            shapes[f"self_attn.{layer}.{branch}.weight"] = shape
        for layer in (*linear, "inner_attn_ln"):
            shapes[f"self_attn.{layer}.{branch}.bias"] = (dim,)
        shapes |= {
            f"self_attn.inner_attn_ln.{branch}.weight": (dim,),
            f"self_attn_layer_norm.{branch}.weight": (dim,), f"self_attn_layer_norm.{branch}.bias": (dim,),
            f"final_layer_norm.{branch}.weight": (dim,), f"final_layer_norm.{branch}.bias": (dim,),
            f"ffn.{branch}.fc1.weight": (4 * dim, dim), f"ffn.{branch}.fc1.bias": (4 * dim,),
            f"ffn.{branch}.fc2.weight": (dim, 4 * dim), f"ffn.{branch}.fc2.bias": (dim,),
            f"ffn.{branch}.ffn_layernorm.weight": (4 * dim,), f"ffn.{branch}.ffn_layernorm.bias": (4 * dim,),
        }  # fmt: skip
    shapes = {f"beit3.encoder.layers.0.{key}": shape for key, shape in shapes.items()} | {
        "beit3.text_embed.weight": (9, dim), "beit3.vision_embed.mask_token": (1, 1, dim),
        "beit3.vision_embed.cls_token": (1, 1, dim), "beit3.vision_embed.proj.weight": (dim, 3, 16, 16),
        "beit3.vision_embed.proj.bias": (dim,), "fc_norm.weight": (dim,), "fc_norm.bias": (dim,),
        "beit3.encoder.embed_positions.A.weight": (side * side + 3, dim),
        "beit3.encoder.embed_positions.B.weight": (20, dim), "head.weight": (5, dim), "head.bias": (5,),
    }  # fmt: skip
    return fill({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})


@pytest.mark.oracle
def test_the_original_beit3_files():
    name, layout = "beit3_base_patch16_224", unilm(24, 4)
    small = THEIR_TINY | {"depth": 1}
    model = timm().create_model(name, **small, img_size=64, num_classes=5)
    theirs = timm().models.vision_transformer.checkpoint_filter_fn(dict(layout), model)
    ours = Beit3.adapt(layout)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    built = zoo.create_from(name, ours, **(TINY | {"depth": 1}))
    model.double().eval().load_state_dict(theirs)
    x = noise_image(1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(built(x), model(x), rtol=0, atol=1e-9)
