"""Pixel methods against known answers, and against captum where it uses the same formula."""

from functools import partial

import pytest
import torch
from captum.attr import GuidedBackprop, InputXGradient, IntegratedGradients, Saliency
from torch import Tensor, nn

import explain
import zoo
from explain.pixels import blur
from tests.models import build, noise
from zoo.layers.mlp import Mlp

X = torch.randn(2, 3, 12, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
W = torch.randn(3, 12, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


class Formula(zoo.Backbone):
    """Logits (B, 2): that of class 1 is a formula, that of class 0 is zero."""

    num_classes, readout, no_attention = 2, "mean", "it is a formula"

    def __init__(self, formula):
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        value = self.formula(x)
        return torch.stack([torch.zeros_like(value), value], 1)


LINEAR = Formula(lambda x: (x * W).sum((1, 2, 3)))
SQUARE = Formula(lambda x: x.square().sum((1, 2, 3)))


def near(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found.double(), expected.double(), rtol=tolerance, atol=tolerance)


def test_every_method_finds_the_weights_of_a_linear_model():
    each = (X * W).sum(1)
    near(explain.explain(LINEAR, X, "saliency", target=1).raw, W.abs().amax(0).expand(2, -1, -1))
    near(explain.explain(LINEAR, X, "smooth_grad", target=1).raw, W.abs().amax(0).expand(2, -1, -1))
    near(explain.explain(LINEAR, X, "input_x_gradient", target=1).raw, each)
    result = explain.explain(LINEAR, X, "integrated_gradients", target=1, steps=3)
    near(result.raw, each)
    near(result.raw.sum((1, 2)), torch.tensor(result.score, dtype=torch.float64), 1e-6)
    blurred = explain.explain(LINEAR, X, "integrated_gradients", target=1, baseline="blur", steps=3).raw
    near(blurred, ((X - blur(X)) * W).sum(1))


def test_integrated_gradients_with_one_point_are_exact_for_a_square():
    near(explain.explain(SQUARE, X, "integrated_gradients", target=1, steps=1).raw, X.square().sum(1))


def test_swapping_target_and_contrast_flips_the_sign():
    for method in ("input_x_gradient", "integrated_gradients", "gradient_shap", "occlusion", "ablation"):
        one = explain.explain(LINEAR, X, method, target=1, contrast=0).raw
        near(one, -explain.explain(LINEAR, X, method, target=0, contrast=1).raw, 1e-9)


def test_a_perturbation_of_a_linear_model_removes_exactly_the_perturbed_pixels():
    each = (X * W).sum(1)
    cells = explain.explain(LINEAR, X, "ablation", target=1, cells=4).raw  # of 3 x 2 pixels
    near(cells, each.unflatten(2, (4, 2)).unflatten(1, (4, 3)).sum((2, 4)), 1e-6)
    found = explain.explain(LINEAR, X, "occlusion", target=1, window=2).raw
    windows = each.unfold(1, 2, 1).unfold(2, 2, 1).sum((3, 4))
    near(found[:, 0, 0], windows[:, 0, 0], 1e-6)
    near(found[:, 5, 3], windows[:, 4:6, 2:4].mean((1, 2)), 1e-6)  # four windows cover this pixel


def test_the_same_seed_gives_the_same_map_and_another_seed_another():
    model, x = build("resnet32_cifar"), noise("resnet32_cifar")
    for method in ("smooth_grad", "gradient_shap"):
        maps = [explain.explain(model, x, method, samples=4, seed=seed).raw for seed in (0, 0, 1)]
        assert torch.equal(maps[0], maps[1])
        assert not torch.equal(maps[0], maps[2])


def test_integrated_gradients_report_how_far_they_fall_short():
    model, x = build("resnet32_cifar"), noise("resnet32_cifar")
    gaps = []
    for steps in (2, 50):
        result = explain.explain(model, x, "integrated_gradients", target=3, steps=steps)
        with torch.inference_mode():
            rise = (model(x) - model(torch.zeros_like(x)))[0, 3]
        gaps.append((result.raw.sum() - rise).abs().item())
        assert "adds up to" in result.notes[-1]
    assert gaps[1] < gaps[0]


@pytest.mark.parametrize("name", ["resnet32_cifar", "vit_cifar"])
def test_equal_to_captum(name):
    model, x = build(name), noise(name, batch=2).requires_grad_()  # captum requires it
    near(explain.explain(model, x, "saliency", target=3).raw, Saliency(model).attribute(x, target=3).amax(1))
    theirs = InputXGradient(model).attribute(x, target=3).detach().sum(1)
    near(explain.explain(model, x, "input_x_gradient", target=3).raw, theirs)
    theirs = IntegratedGradients(model).attribute(x, target=3, n_steps=8, method="gausslegendre").detach().sum(1)
    near(explain.explain(model, x, "integrated_gradients", target=3, steps=8).raw, theirs, 1e-6)


class Plain(zoo.Backbone):
    """conv -> ReLU -> conv -> ReLU -> mean -> fc, made of modules that captum's hooks can see."""

    num_classes, readout, no_attention = 4, "mean", "it is made of convolutions alone"

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layers(x).mean((2, 3)))


def test_guided_backprop_equals_captums_and_leaves_no_hooks():
    torch.manual_seed(0)
    model = Plain().double().requires_grad_(False)
    found = explain.explain(model, X, "guided_backprop", target=2).raw
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    with pytest.warns(UserWarning, match="backward hooks"):
        theirs = GuidedBackprop(model).attribute(X.clone().requires_grad_(), target=2).detach().sum(1)
    near(found, theirs)


def test_guided_backprop_is_refused_for_other_activations_than_relu():
    for name, has in (("vit_cifar", "GELU, attention"), ("mobilenetv2_cifar", "ReLU6")):
        with pytest.raises(explain.ExplanationError, match=has):
            explain.explain(build(name), noise(name), "guided_backprop")


def test_conservative_relevance_of_a_bias_free_relu_vit_adds_up_to_the_logit():
    model = build("vit_cifar", mlp=partial(Mlp, act=nn.ReLU))
    for key, parameter in model.named_parameters():
        if key.endswith("bias") or key in ("cls_token", "pos_embed"):
            parameter.data.zero_()
    x = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    logits = model(x)[:, 4]
    found = explain.explain(model, x, "conservative", target=4).raw.sum((1, 2))
    torch.testing.assert_close(found, logits, rtol=1e-4, atol=0)  # the norms' eps is the only difference
    plain = explain.explain(model, x, "input_x_gradient", target=4).raw.sum((1, 2))
    assert ((plain - logits).abs() > 0.1 * logits.abs()).all()
