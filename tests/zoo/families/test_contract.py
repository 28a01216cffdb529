"""The contract of every family for building, training, deploying and explaining, on one light variant per file."""

from collections.abc import Collection
from copy import deepcopy
from functools import lru_cache

import pytest
import torch
from torch import Tensor

import explain
import zoo
from explain.api import Method
from tests.models import FAMILIES, FEW, Light, light, light_names, lightest_first, on_meta
from zoo.fast.pack import MOVING, OTHER
from zoo.probe import STAGES, probe
from zoo.registry import source

NAMES = light_names()
FIRST = [lightest_first(family)[0] for family in FAMILIES]  # one of each family, for what takes seconds


def on(names: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", names, ids=lambda name: f"{source(name).stem}-{name}")


EVERY_FAMILY, ONCE_A_FAMILY = on(NAMES), on(FIRST)
# Coarse maps are enlarged before the last convolutions, which halve the grid again.
ENLARGED = {"hrnet", "efficientformer_v2"}
# Families whose first convolutions are unpadded: their outer cells leave a margin of the image.
UNPADDED = {"squeezenet", "inception_v3", "inception_v4", "inception_resnet_v2", "xception", "nasnet", "pnasnet"}
# Why layers of a family or of a variant have no packed kernel.
UNPACKED = {
    "condconv": {MOVING},
    "eca_resnet": {OTHER},
    "eca_botnext26ts_256": {OTHER},
    "eca_nfnet_l0": {OTHER},
    "coat_tiny": {OTHER},
    "efficientvim": {OTHER},
}
# The logits are a mean over last layers, each of which reads a part of the features.
SEVERAL_HEADS = {"crossvit", "efficientvim"}
# Weights that make only what the head does not read: of the last block's queries, it reads the class token's alone.
UNREAD = {
    "mvitv2_small_cls": [f"stages.3.blocks.1.attn.{key}" for key in ("rel_pos_h", "rel_pos_w", "pool_q.weight")],
    "vit_relpos_medium_patch16_cls_224": [
        f"blocks.1.attn.rel_pos.mlp.{layer}.{key}" for layer in ("fc1", "fc2") for key in ("weight", "bias")
    ],
}


@lru_cache(1)  # conftest.py runs all that is asked of one variant together
def ready(name: str) -> tuple[Light, zoo.Backbone]:
    """A variant as it is built for most of the tests, which leave it as it is."""
    made = light(name)
    return made, made.build()


def image(made: Light, batch: int = 1, turned: bool = False) -> Tensor:
    size = (made.width, 2 * made.height) if turned else (made.height, made.width)
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def run(model: torch.nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(x)


def assert_same(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    """Equal relative to the spread of the outputs, which is not near 1 for all models here."""
    scale = expected.std().item()
    torch.testing.assert_close(found / scale, expected / scale, rtol=tolerance, atol=tolerance)


@EVERY_FAMILY
def test_another_image_size(name):
    """The output for an image does not depend on the rest of the batch, at a size that the model was not built for."""
    made, model = ready(name)
    x = image(made, 2, turned=True)
    if model.only_size:
        with pytest.raises(ValueError, match=r"images of \d+x\d+ only"):
            model(x)
        return
    y = run(model, x)
    assert y.shape == (2, model.num_classes or model.num_features)
    assert_same(torch.cat([run(model, one) for one in x.split(1)]), y)
    assert not torch.allclose(y[0], y[1])


@EVERY_FAMILY
def test_the_smallest_image_is_taken_and_a_smaller_one_is_refused(name):
    _, model = ready(name)
    if model.img_size is not None:
        return
    x = torch.randn(1, 3, model.smallest, model.smallest, dtype=torch.float64)
    assert run(model, x).isfinite().all()
    if model.smallest > 1:
        with pytest.raises(ValueError, match=f"needs images of {model.smallest} pixels a side or more: "):
            model(x[:, :, 1:])


@EVERY_FAMILY
def test_other_numbers_of_classes(name):
    made = light(name)
    seven, none = made.build(num_classes=7), made.build(num_classes=0)
    x = image(made)
    assert (seven.num_classes, none.num_classes) == (7, 0)
    assert run(seven, x).shape == (1, 7)
    features = run(none, x)
    assert features.shape == (1, none.num_features)
    with torch.inference_mode():
        assert_same(seven.forward_head(seven.forward_features(x), pre_logits=True), features)
    last = seven.get_submodule(seven.classifier_key)
    assert len(last.weight) == 7  # of a linear layer or a 1x1 convolution
    assert (last.weight.shape[1] == none.num_features) != (source(name).stem in SEVERAL_HEADS)
    assert all(torch.equal(value, seven.state_dict()[key]) for key, value in none.state_dict().items())


@EVERY_FAMILY
def test_a_fused_model_gives_the_same(name):
    made, model = ready(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert_same(run(zoo.fuse(model), image(made)), run(model, image(made)))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@on([name for name in NAMES if name in FIRST or name in UNPACKED])
def test_an_accelerated_copy_gives_the_same(name):
    made, model = ready(name)
    model, x = deepcopy(model).float(), image(made).float()
    fast = zoo.accelerate(model, torch.rand_like(x))
    assert set(fast.left.values()) == UNPACKED.get(name, UNPACKED.get(source(name).stem, set()))
    expected = run(model, x)
    assert (run(fast, x) - expected).abs().max() < 1e-4 * expected.abs().max()


@EVERY_FAMILY
def test_a_copy_is_independent(name):
    made, model = ready(name)
    x = image(made)
    expected, copy = run(model, x), deepcopy(model)
    assert torch.equal(run(copy, x), expected)
    for parameter in copy.parameters():
        parameter.data.zero_()
    assert torch.equal(run(model, x), expected)


@EVERY_FAMILY
def test_its_state_dict_rebuilds_it(name):
    """Image size and number of classes are read off the state dict."""
    made = light(name)
    told = {field: value for field, value in made.overrides.items() if field not in ("img_size", "num_classes")}
    model = made.build(num_classes=7)
    again = zoo.create_from(made.name, model.state_dict(), **told)
    assert again.num_classes == 7
    assert torch.equal(run(again, image(made)), run(model, image(made)))


@pytest.mark.filterwarnings("ignore:The tensor attributes .*_flat_weights:UserWarning")  # of PyTorch's own LSTM
@ONCE_A_FAMILY
def test_torch_exports_it(name):
    made, model = ready(name)
    x = image(made)
    assert_same(run(torch.export.export(model, (x,)).module(), x), run(model, x))


@EVERY_FAMILY
def test_gradients_reach_every_parameter(name):
    """In training or at inference: what is added before a batch norm has no effect while it measures the batch."""
    made, model = ready(name)
    model, x = deepcopy(model).requires_grad_(True), image(made, 2)
    for training in (True, False):
        y = model.train(training)(x)
        assert y.isfinite().all()
        (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=y.dtype)).sum().backward()
    left = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert left == UNREAD.get(name, [])


@EVERY_FAMILY
def test_half_precision_gives_nearly_the_same(name, monkeypatch):
    """Compared with float64 on the same rounded weights and the same rounded image.

    By PyTorch's own kernels: on processors with AMX, oneDNN 3.12 gives wrong sums in bfloat16 for convolutions of 8 to
    24 channels whose kernel is 4 or 8 wide and whose stride is not 1. `zoo.accelerate` leaves such a model as it is.
    """
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    made, model = ready(name)
    half, x = deepcopy(model).bfloat16(), image(made, 2).bfloat16()
    y, expected = run(half, x), run(deepcopy(half).double(), x.double())
    assert y.dtype == torch.bfloat16 and y.isfinite().all()
    assert (y - expected).norm() < 0.1 * expected.norm()


@EVERY_FAMILY
def test_its_cells_look_into_the_image_at_even_distances(name):
    made, model = ready(name)
    x = image(made)
    with torch.inference_mode(), probe(model, x, taps={"cam", *STAGES}) as seen:
        model(x)
    assert "cam" in seen.taps
    for i, side in enumerate(x.shape[2:]):
        axes = [tap.cells[i] for tap in seen.taps.values()]
        coarsest = max(axis.step for axis in axes)
        for (
            axis
        ) in axes:  # where a coarse map was enlarged, its outer cells may look up to half a cell beyond the border
            if source(name).stem in UNPADDED:
                left, right = axis.start, side - axis.start - (axis.size - 1) * axis.step
                assert left > 0 and right > 0 and left == pytest.approx(right, abs=axis.step)
                continue
            inside = axis.step == coarsest and source(name).stem not in ENLARGED
            assert (0 if inside else -coarsest / 2) <= axis.start <= axis.step
            assert axis.start + (axis.size - 1) * axis.step < side
            assert axis.size * axis.step == pytest.approx(side, abs=axis.step)


@EVERY_FAMILY
def test_a_mean_readout_sees_every_position_of_its_tap_alike(name):
    """A tap before the last norm, or after the mean's weights, would not."""
    made = light(name)
    model, x = made.build(num_classes=7), image(made)
    if not model.readout.endswith("mean") and model.readout != "mean_norm":
        return
    with probe(taps={"cam"}, gradient=True) as seen:
        logits = model(x)
    cam = seen.taps["cam"]
    (gradient,) = torch.autograd.grad(logits[0, 3], cam.value)
    there = cam.as_map(gradient)
    assert_same(there, there[:, :, :1, :1].expand_as(there))
    assert there.abs().max() > 0


@EVERY_FAMILY
def test_channels_last_gives_the_same(name):
    made, model = ready(name)
    x, expected, model = image(made, 2), run(model, image(made, 2)), deepcopy(model)
    if all(p.ndim < 5 for p in model.parameters()):  # PyTorch refuses the weight of a 3d convolution
        model.to(memory_format=torch.channels_last)
    assert_same(run(model, x.contiguous(memory_format=torch.channels_last)), expected)


@lru_cache(1)
def shown(name: str) -> tuple[zoo.Backbone, Tensor, dict[str, explain.Availability]]:
    made, model = ready(name)
    model = deepcopy(model).float()
    return model, image(made).float(), {offer.method.key: offer for offer in explain.available(model)}


# Methods of many forward passes ask nothing more of a model than the others: one family with each readout is enough.
BY_READOUT = {on_meta(name).readout: name for name in reversed(FIRST)}.values()


def tried_on(method: Method) -> Collection[str]:
    return BY_READOUT if method.slow else NAMES if method.group == "Attention" else FIRST


JOBS = [(name, key) for name in NAMES for key, method in explain.METHODS.items() if name in tried_on(method)]


@pytest.mark.parametrize(
    ("name", "method"), JOBS, ids=lambda each: f"{source(each).stem}-{each}" if each in NAMES else each
)
def test_a_method_runs_or_says_why_not(name, method):
    model, x, offers = shown(name)
    offer = offers[method]
    if offer.ok:
        assert offer.reason is None
        few = {"window": min(x.shape[2:]) // 2} if method == "occlusion" else FEW.get(method, {})
        result = explain.explain(model, x, method, **few)
        assert result.raw.shape[0] == 1
        assert result.raw.isfinite().all()
        assert result.raw.any() or result.notes
    else:
        assert offer.reason.endswith(".")
        with pytest.raises(explain.ExplanationError) as refused:
            explain.explain(model, x, method)
        assert str(refused.value) == offer.reason
