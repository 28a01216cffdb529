"""CLIP's ResNets: attention pooling of a feature map, and the files of OpenAI and open_clip."""

import pytest
import torch
from torch import Tensor

import zoo
from tools.fill import fill, noise_image
from zoo.families.clip_resnet import AttentionPool2d
from zoo.probe import Grid, probe, whole
from zoo.registry import variant

TINY = {"depths": (1, 1, 1, 1), "width": 0.25}
NAMES = ("resnet50_clip", "resnet50_clip_gap")


def build(name: str, num_classes: int = 10) -> zoo.Backbone:
    with torch.device("meta"):
        keys = zoo.create(name, num_classes=num_classes, **TINY).state_dict()
    return zoo.create_from(name, fill(keys), **TINY).requires_grad_(False)


def test_where_no_place_is_asked_for_the_mean_is_read():
    pool, x = AttentionPool2d(128, 7, 5).double(), torch.randn(2, 128, 3, 4, dtype=torch.float64)
    torch.nn.init.zeros_(pool.q.weight)
    torch.nn.init.zeros_(pool.q.bias)
    torch.nn.init.zeros_(pool.pos_embed)
    with torch.inference_mode():
        torch.testing.assert_close(pool(x), pool.proj(pool.v(x.mean((2, 3)))))
        assert pool(x, pre_logits=True).shape == (2, 128)


def test_the_record_rebuilds_what_the_layer_computed():
    model, x = build("resnet50_clip"), noise_image(2, 96, 160)
    values: list[Tensor] = []
    handle = model.get_submodule("head.v").register_forward_hook(lambda module, given, made: values.append(made))
    with torch.inference_mode(), probe(taps={"cam", "stage1"}, attention=whole) as seen:
        looked_at = model(x)
    handle.remove()
    (record,) = seen.attention
    assert (record.geometry.q_grid, record.geometry.k_grid) == (Grid(1, 0, 0), Grid(1, 3, 5))
    read = record.dense(1) @ values[0][1].unflatten(1, (8, 64)).transpose(0, 1)  # (8 heads, 1 query, 64)
    logits = model.get_submodule("head.proj")(read.flatten())
    torch.testing.assert_close(logits, looked_at[1])
    with torch.inference_mode():
        torch.testing.assert_close(model(x), looked_at)
    assert seen.taps["stage1"].value.shape == (2, 64, 24, 40)


def test_a_size_without_an_exact_half_is_refused():
    with pytest.raises(ValueError, match="multiples of 32"):
        build("resnet50_clip")(noise_image(1, 64, 72))


def test_the_images_size_is_read_off_the_position_table():
    with torch.device("meta"):
        keys = zoo.create("resnet50_clip", img_size=160, num_classes=3, **TINY).state_dict()
    model = zoo.create_from("resnet50_clip", fill(keys), **TINY)
    assert model.get_submodule("head").table_grid == (5, 5)
    assert model.num_classes == 3


@pytest.fixture
def oracle():
    return pytest.importorskip("tools.oracle", exc_type=ImportError)


@pytest.mark.oracle
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(96, 96), (64, 160), (128, 128), (65, 97)])
def test_equal_to_timm_at_other_sizes(oracle, name, size):
    theirs, weights = oracle.filled_reference(name, salt="sizes", width_factor=0.25, img_size=96)
    ours, x = zoo.create_from(name, weights, width=0.25), noise_image(1, *size)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-9)
        there = theirs.forward_head(theirs.forward_features(x), pre_logits=True)
        torch.testing.assert_close(ours.forward_head(ours.forward_features(x), True), there, rtol=1e-9, atol=1e-9)


def openai(native: dict[str, Tensor]) -> dict[str, Tensor]:
    """Noise under the names of OpenAI's own ResNet, with a text encoder."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    visual = [f"conv{i}.weight" for i in (1, 2, 3)] + [f"bn{i}.{k}" for i in (1, 2, 3) for k in norm]
    for stage, depth in enumerate((3, 4, 6, 3), 1):
        for block in (f"layer{stage}.{j}." for j in range(depth)):
            visual += [f"{block}conv{i}.weight" for i in (1, 2, 3)]
            visual += [f"{block}bn{i}.{k}" for i in (1, 2, 3) for k in norm]
        visual += [f"layer{stage}.0.downsample.0.weight", *(f"layer{stage}.0.downsample.1.{k}" for k in norm)]
    visual += [f"attnpool.{part}_proj.{k}" for part in "qkvc" for k in ("weight", "bias")]
    visual.append("attnpool.positional_embedding")
    assert len(visual) == len(native)
    made = {f"visual.{key}": torch.randn(2) for key in visual}
    return made | {"ln_final.weight": torch.randn(4), "transformer.resblocks.0.attn.in_proj_bias": torch.randn(3)}


@pytest.mark.oracle
@pytest.mark.parametrize("name", NAMES)
def test_openais_layout_is_read_as_timm_reads_it(oracle, name):
    from timm.models.byobnet import checkpoint_filter_fn

    with torch.device("meta"):
        layout = openai(zoo.create("resnet50_clip").state_dict())
        model = oracle.timm.create_model(name)
    ours, theirs = variant(name)[0].adapt(dict(layout)), checkpoint_filter_fn(dict(layout), model)
    assert ours.keys() == theirs.keys() == model.state_dict().keys()
    assert all(ours[key] is theirs[key] for key in ours)
