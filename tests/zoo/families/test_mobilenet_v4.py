"""MobileNet-V4 and -V5: attention whose keys lie on a coarser grid, and two stages fused on a grid of its own."""

import pytest
import torch
from torch import Tensor, nn

import explain
import zoo
from tests.models import build
from tools.fill import noise_image
from zoo.layers.mobile_attention import MobileAttention
from zoo.layers.table import scaled
from zoo.probe import Grid, probe, whole
from zoo.registry import variant

HYBRID = "mobilenetv4_hybrid_medium_075"
SIZE = 161, 225


def narrow(name: str) -> dict[str, object]:
    """A MobileNet-V5 with a sixteenth of its channels."""
    return {"stages": scaled(variant(name)[1].stages, 1 / 16)}


MODELS = {HYBRID: {}, "mobilenetv5_300m": narrow("mobilenetv5_300m")}


def test_only_the_norms_in_front_of_attention_stay_when_it_is_fused():
    model, x = build(HYBRID), noise_image(1, *SIZE)
    fused = zoo.fuse(model)
    left = [m for m in fused.modules() if isinstance(m, nn.BatchNorm2d)]
    assert left == [m.norm for m in fused.modules() if isinstance(m, MobileAttention)]
    with torch.inference_mode():
        torch.testing.assert_close(fused(x), model(x), rtol=1e-9, atol=1e-9)


def test_keys_lie_on_a_grid_half_as_fine_rounded_up():
    with torch.inference_mode(), probe(attention=whole) as seen:
        build(HYBRID)(noise_image(1, *SIZE))
    grids = [(record.geometry.q_grid, record.geometry.k_grid) for record in seen.attention]
    assert grids == [(Grid(0, 11, 15), Grid(0, 6, 8))] * 4 + [(Grid(0, 6, 8), Grid(0, 6, 8))] * 4


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("row", "col"), [(0, 0), (1, 6), (3, 2), (5, 7)])
def test_attention_moves_where_the_image_changes(name, row, col):
    """With nothing but the middle of each kernel left, a key sees one pixel: every 32nd, down and across."""
    model, plain = build(name, **MODELS[name]), noise_image(1, *SIZE)
    for conv in model.modules():
        if isinstance(conv, nn.Conv2d):
            middle = torch.zeros(conv.kernel_size, dtype=torch.float64)
            middle[conv.kernel_size[0] // 2, conv.kernel_size[1] // 2] = 1
            conv.weight *= middle
    changed = plain.clone()
    changed[:, :, 32 * row, 32 * col] *= -1
    before, after = (explain.explain(model, x, "attention", layer=0).raw[0] for x in (plain, changed))
    assert before.shape == (6, 8)
    assert divmod(int((after - before).abs().argmax()), 8) == (row, col)


def test_mobilenet_v5_sees_any_image_on_16_rows_and_columns():
    """By the mean of what it halves to, or, where 16 does not divide that, in between."""
    model = build("mobilenetv5_300m", **MODELS["mobilenetv5_300m"])
    for size, step in {(512, 256): (32, 16), (64, 96): (4, 6), (160, 256): (10, 16)}.items():
        x = noise_image(1, *size)
        with torch.inference_mode(), probe(model, x, {"cam"}) as seen:
            model(x)
        cells = seen.taps["cam"].cells
        assert cells.shape == (16, 16)
        assert (cells.down.step, cells.across.step) == pytest.approx(step)


def features(name: str, **overrides: int) -> Tensor:
    with torch.inference_mode():
        return build(name, **narrow(name), **overrides)(noise_image(2, 64, 96))


def test_the_encoder_gives_its_grid_unless_it_has_classes():
    assert features("mobilenetv5_300m_enc").shape == (2, 2048, 16, 16)
    assert features("mobilenetv5_300m_enc", num_classes=7).shape == (2, 7)
    assert features("mobilenetv5_300m").shape == (2, 2048)


def test_what_cannot_be_shown_says_why():
    def refused(name: str, method: str) -> str:
        with torch.device("meta"):
            (offer,) = [o for o in explain.available(zoo.create(name)) if o.method.key == method]
        return offer.reason or ""

    assert "convolutions alone" in refused("mobilenetv4_conv_small", "rollout")
    assert "two stages side by side" in refused("mobilenetv5_base", "rollout")
    assert refused(HYBRID, "rollout") == ""
