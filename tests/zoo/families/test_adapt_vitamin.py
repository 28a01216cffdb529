"""ViTamin compared with timm: published files, which are in open_clip's layout, image sizes, and the order of taps."""

import pytest
import torch
from torch import Tensor

import zoo
from tools.fill import noise_image
from zoo.families.vitamin import XLARGE
from zoo.probe import probe
from zoo.registry import variant

oracle = pytest.importorskip("tools.oracle", exc_type=ImportError)
pytestmark = pytest.mark.oracle

NAME = "vitamin_small_224"
SIDES = [({"depth": 1}, {"depth": 1}), ({"depth": 1, "pos_embed": "none"}, {"depth": 1, "tokens": XLARGE.tokens})]
# The second is a small xlarge, which has no position embeddings.


def published(native: dict[str, Tensor], out: int) -> dict[str, Tensor]:
    dim = native["fc_norm.weight"].shape[0]
    around = {"visual.head.proj.weight": torch.randn(out, dim), "text.ln_final.weight": torch.randn(4)}
    around |= {"logit_scale": torch.randn(())}
    return {f"visual.trunk.{k}": torch.randn_like(v) for k, v in native.items() if not k.startswith("head.")} | around


@pytest.mark.parametrize(("theirs", "ours"), SIDES)
def test_open_clip_files_are_converted_as_timm_converts_them(theirs, ours):
    from timm.models.vision_transformer import checkpoint_filter_fn

    model = oracle.timm.create_model(NAME, **theirs)
    file = published(model.state_dict(), out=9)  # another space of words, as ViTamin-S has beside ViTamin-S-LTT
    adapted, expected = variant(NAME)[0].adapt(dict(file)), checkpoint_filter_fn(dict(file), model)
    assert adapted.keys() == expected.keys() == model.state_dict().keys()
    assert all(torch.equal(adapted[k], expected[k]) for k in adapted)
    assert zoo.create_from(NAME, adapted, **ours).num_classes == 9


def test_a_file_of_another_size_brings_its_own_position_table():
    theirs, weights = oracle.filled_reference(NAME, depth=1, img_size=96)
    ours = zoo.create_from(NAME, weights, depth=1)
    assert ours.table_grid == (6, 6)
    x = noise_image(1, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("theirs", "ours"), SIDES)
def test_any_image_size(theirs, ours):
    reference, weights = oracle.filled_reference(NAME, dynamic_img_size=True, **theirs)
    model = zoo.create_from(NAME, weights, **ours)
    for size in (64, 64), (96, 160), (75, 50):  # the last is not a whole number of cells
        x = noise_image(1, *size)
        with torch.inference_mode():
            torch.testing.assert_close(model(x), reference(x), rtol=1e-9, atol=1e-9)


def test_taps_run_from_the_convolutions_to_the_blocks():
    model = zoo.create(NAME, depth=2)
    names = ["stage1", "stage2", "stage3", "stage4", "cam"]
    with torch.inference_mode(), probe(taps=names) as seen:
        model(torch.randn(1, 3, 64, 96))
    assert list(seen.taps) == names
    shapes = [(64, 16, 24), (128, 8, 12), (384, 4, 6), (384, 4, 6), (384, 4, 6)]
    assert [tuple(t.as_map().shape[1:]) for t in seen.taps.values()] == shapes
