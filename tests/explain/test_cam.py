"""Class activation maps against their papers' formulas, rewritten in numpy, and against two packages."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import explain
from explain.cam import FORMULAS, eigen_cam
from tests.models import build, light, noise
from tools.fill import noise_image

GENERATOR = torch.Generator().manual_seed(5)
A, G = torch.randn(2, 2, 6, 4, 5, generator=GENERATOR, dtype=torch.float64)  # (B, C, h, w) each


def grad_cam_plus_plus(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    out = np.zeros(a.shape[1:])
    for k in range(len(a)):
        alpha = g[k] ** 2 / (2 * g[k] ** 2 + a[k].sum() * g[k] ** 3)
        out += (alpha * np.maximum(g[k], 0)).sum() * a[k]
    return out


BY_HAND = {
    "grad_cam": lambda a, g: sum(g[k].mean() * a[k] for k in range(len(a))),
    "hires_cam": lambda a, g: sum(g[k] * a[k] for k in range(len(a))),
    "layer_cam": lambda a, g: sum(np.maximum(g[k], 0) * a[k] for k in range(len(a))),
    "xgrad_cam": lambda a, g: sum((a[k] / a[k].sum() * g[k]).sum() * a[k] for k in range(len(a))),
    "grad_cam_plus_plus": grad_cam_plus_plus,
}


@pytest.mark.parametrize("method", FORMULAS)
def test_formula(method):
    found = FORMULAS[method](A, G)
    for i in range(len(A)):
        np.testing.assert_allclose(found[i], BY_HAND[method](A[i].numpy(), G[i].numpy()), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", FORMULAS)
def test_a_dead_channel_has_no_effect(method):
    a, g = A.clone(), G.clone()
    a[:, 2], g[:, 3] = 0, 0
    kept = [0, 1, 4, 5]
    found = FORMULAS[method](a, g)
    assert found.isfinite().all()
    torch.testing.assert_close(found, FORMULAS[method](a[:, kept], g[:, kept]), rtol=1e-12, atol=1e-12)


def test_eigen_cam():
    for i, found in enumerate(eigen_cam(A)):
        places = A[i].flatten(1).T.numpy()
        _, axes = np.linalg.eigh(places.T @ places)
        projected = (places @ axes[:, -1]).reshape(4, 5)
        np.testing.assert_allclose(found, projected * np.sign(projected.sum()), rtol=1e-9, atol=1e-12)


def test_score_cam_is_the_papers_loop():
    model, x = build("resnet32_cifar"), noise("resnet32_cifar")
    with torch.inference_mode(), explain.cam.probe(taps={"cam"}) as seen:
        model(x)
    a = seen.taps["cam"].as_map()[0]
    rises = []
    with torch.inference_mode():
        for channel in a:
            large = F.interpolate(channel[None, None], x.shape[2:], mode="bilinear")
            mask = (large - large.min()) / ((large.max() - large.min()).item() or 1)
            rises.append(model(x * mask)[0, 4] - model(torch.zeros_like(x))[0, 4])
    weight = torch.stack(rises).softmax(0)
    told = []
    found = explain.explain(model, x, "score_cam", target=4, progress=lambda done, total: told.append((done, total)))
    torch.testing.assert_close(found.raw[0], (weight[:, None, None] * a).sum(0), rtol=1e-9, atol=1e-12)
    assert told == [(0, 0)] + [(channel, 64) for channel in range(64)]


@pytest.mark.parametrize("method", ["layer_cam", "grad_cam_plus_plus"])
def test_a_note_says_where_a_map_hardly_depends_on_the_class(method):
    def noted(name, method, **where):
        return any(
            "Grad-CAM tells classes apart" in n
            for n in explain.explain(build(name), noise(name), method, **where).notes
        )

    assert noted("resnet32_cifar", method)  # mean -> fc
    assert noted("convnext_cifar", method)  # mean -> norm -> fc
    assert not noted("resnet32_cifar", method, tap="stage1")
    assert not noted("vit_cifar", method)  # reads a class token
    assert not noted("resnet32_cifar", "grad_cam")


def test_a_note_says_that_eigen_cam_is_not_centred():
    notes = explain.explain(build("resnet32_cifar"), noise("resnet32_cifar"), "eigen_cam").notes
    assert any("subtract their mean" in note for note in notes)


def test_an_exception_from_progress_ends_score_cam():
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explain.explain(build("resnet32_cifar"), noise("resnet32_cifar"), "score_cam", progress=stop)


def test_half_of_the_best_patchs_logit_is_the_rest_of_the_answer():
    made = light("volo_d1_224")
    model, x = made.build(), noise_image(1, made.height, made.width)
    found = explain.explain(model, x, "patch_logits", target=7, contrast=3).raw
    seven, three = (explain.explain(model, x, "patch_logits", target=t).raw for t in (7, 3))
    torch.testing.assert_close(found, seven - three)
    with torch.inference_mode():
        by_token = model.head(model.forward_features(x)[:, 0])[0, 7]
        torch.testing.assert_close(by_token + seven.max() / 2, model(x)[0, 7], rtol=1e-9, atol=1e-9)
    assert seven.shape == (1, made.height // 16, made.width // 16)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("method", "theirs"),
    [
        ("grad_cam", "GradCAM"),
        ("hires_cam", "HiResCAM"),
        ("layer_cam", "LayerCAM"),
        ("xgrad_cam", "XGradCAM"),
        ("grad_cam_plus_plus", "GradCAMPlusPlus"),
    ],
)
def test_equal_to_the_grad_cam_package(method, theirs):
    """On activations and gradients far above the 1e-6 and 1e-7 that the package adds to its denominators."""
    pytest.importorskip("tools.oracle", exc_type=ImportError)
    package = pytest.importorskip("pytorch_grad_cam")
    model = build("test_resnet")
    a, g = 1e4 * A.abs(), 1e4 * G
    with getattr(package, theirs)(model, [model.get_submodule("layer4")]) as cam:
        image = cam.get_cam_image(None, None, None, a.numpy(), g.numpy(), eigen_smooth=False)
    found = FORMULAS[method](a, g).numpy()
    if method == "layer_cam":
        image = image.clip(0)
        found = found.clip(0)
    np.testing.assert_allclose(found, image, rtol=1e-9)


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv2_cifar"])
def test_equal_to_captum(name):
    from captum.attr import LayerGradCam

    model, x = build(name), noise(name)
    last = {"test_resnet": "layer4", "mobilenetv2_cifar": "bn2"}[name]
    with torch.enable_grad():
        theirs = LayerGradCam(model, model.get_submodule(last)).attribute(x, target=3)
    torch.testing.assert_close(explain.explain(model, x, "grad_cam", target=3).raw, theirs[:, 0].detach())
