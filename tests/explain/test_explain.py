"""Maps against what arithmetic demands: identities, sums and geometry; and the model is not changed."""

import threading
from itertools import groupby

import numpy as np
import pytest
import torch

import explain
from explain.api import GROUPS
from explain.attention import carry, readout_mass
from explain.cam import grad_cam, hires_cam
from explain.features import principal_components
from tests.models import FEW, SHORT, SMALL, WITH_ATTENTION, build, noise, on_meta
from zoo.probe import Grid, frozen_norm, probe, whole

MEAN = [name for name in SMALL if on_meta(name).num_classes and on_meta(name).readout in ("mean", "norm_mean")]


def cam_parts(model, x, tap="cam", target=3, frozen=False):
    with torch.enable_grad(), probe(taps={tap}, gradient=True) as seen:
        if frozen:
            with frozen_norm():
                logits = model(x)
        else:
            logits = model(x)
    place = seen.taps[tap]
    (gradient,) = torch.autograd.grad(logits[:, target].sum(), place.value)
    return logits[:, target], place.as_map().detach(), place.as_map(gradient)


@pytest.mark.parametrize("name", ["resnet32_cifar", "mobilenetv2_cifar", "test_resnet"])
def test_before_a_mean_grad_cam_is_the_class_activation_map(name):
    model = build(name)
    logit, a, g = cam_parts(model, noise(name))
    linear = model.get_submodule(model.classifier_key)
    cells = a.shape[2] * a.shape[3]
    cam = torch.einsum("c,bchw->bhw", linear.weight[3], a)
    torch.testing.assert_close(cells * grad_cam(a, g), cam, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(cells * hires_cam(a, g), cam, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(cam.sum((1, 2)) / cells + linear.bias[3], logit, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", MEAN)
def test_before_a_mean_the_gradient_is_the_same_everywhere(name):
    """So Grad-CAM and HiResCAM are one map."""
    model, x = build(name), noise(name)
    smooth, exact = (explain.explain(model, x, method).raw for method in ("grad_cam", "hires_cam"))
    torch.testing.assert_close(smooth, exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["convnext_cifar", "test_convnext", "test_vit2"])
def test_before_a_norm_the_map_sums_to_almost_zero_unless_its_deviation_is_held_fixed(name):
    """A norm undoes any scaling of its input, but for its eps: gradient x input keeps the share eps / (var + eps)."""
    model = build(name)
    x = noise(name)
    linear, norm = model.get_submodule(model.classifier_key), [m for m in model.modules() if hasattr(m, "eps")][-1]
    logit, a, g = cam_parts(model, x, frozen=True)
    held = hires_cam(a, g).sum((1, 2))
    constant = linear.weight[3] @ norm.bias + linear.bias[3]
    torch.testing.assert_close(held, logit - constant, rtol=1e-9, atol=1e-9)
    variance = a.mean((2, 3)).var(1, unbiased=False)
    _, a, g = cam_parts(model, x)
    torch.testing.assert_close(
        hires_cam(a, g).sum((1, 2)), held * norm.eps / (variance + norm.eps), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("name", ["swin_cifar", "mixer_cifar"])
def test_after_a_norm_and_before_a_mean_the_map_sums_to_the_logit(name):
    model = build(name)
    logit, a, g = cam_parts(model, noise(name))
    bias = model.get_submodule(model.classifier_key).bias[3]
    torch.testing.assert_close(grad_cam(a, g).sum((1, 2)) + bias, logit, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["vit_cifar", "deit_tiny_distilled_patch16_224"])
def test_after_the_last_attention_no_patch_contributes_to_a_class_token(name):
    model = build(name)
    last = f"stage{len(model.blocks)}"
    result = explain.explain(model, noise(name), "grad_cam", tap=last)
    assert result.raw.abs().max() == 0
    assert "zero everywhere" in result.notes[0]
    assert explain.explain(model, noise(name), "grad_cam").raw.abs().max() > 1e-6


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_probing_does_not_change_the_logits(name):
    model, x = build(name), noise(name, batch=2)
    with torch.inference_mode():
        plain = model(x)
        with probe(taps={"cam", "stage1"}, attention=whole) as seen:
            looked_at = model(x)
    torch.testing.assert_close(plain, looked_at, rtol=1e-11, atol=1e-11)
    assert seen.attention and {"cam", "stage1"} <= set(seen.taps)


@pytest.mark.parametrize("name", ["vit_cifar", "test_vit2", "deit_tiny_distilled_patch16_224"])
def test_rollout_is_the_dense_product(name):
    model, x = build(name), noise(name)
    with torch.inference_mode(), probe(attention=whole) as seen:
        model(x)
    grid = seen.attention[0].geometry.q_grid
    product = torch.eye(grid.tokens, dtype=torch.float64)
    for record in seen.attention:
        product = (torch.eye(grid.tokens) + record.weights[0].mean(0)) / 2 @ product
    expected = (readout_mass(model, grid, 1).double() @ product)[0, grid.prefix :].unflatten(0, grid.shape)
    torch.testing.assert_close(explain.explain(model, x, "rollout").raw[0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_rollout_loses_only_the_mass_that_it_reports(name):
    result = explain.explain(build(name), noise(name), "rollout")
    assert result.raw.min() >= 0
    reported = sum(int(w.split(" %")[0]) for w in result.notes if w[0].isdigit())
    assert result.raw.sum().item() == pytest.approx(1 - reported / 100, abs=0.02 if result.notes else 1e-9)


def test_mass_is_divided_evenly_among_finer_cells_and_summed_in_coarser_ones():
    mass = torch.tensor([[4.0, 8.0]])
    fine = carry(mass, Grid(0, 1, 2), Grid(0, 2, 4))
    assert fine.tolist() == [[1, 1, 2, 2, 1, 1, 2, 2]]
    odd = carry(mass, Grid(0, 1, 2), Grid(0, 1, 3))  # three cells merged with padding into two
    assert odd.tolist() == [[2, 2, 8]]
    assert carry(odd, Grid(0, 1, 3), Grid(0, 1, 2)).tolist() == mass.tolist()
    crossed = carry(torch.tensor([[4.0, 8.0]]), Grid(0, 1, 2), Grid(0, 2, 1))  # finer one way, coarser the other
    assert crossed.tolist() == [[6, 6]]


def test_a_clicked_patch_is_the_query():
    model, x = build("vit_cifar"), noise("vit_cifar")
    with torch.inference_mode(), probe(attention=whole) as seen:
        model(x)
    row = seen.attention[2].weights[0, 1, 1 + 5 * 12 + 7]  # patch in row 5, column 7 of 8 x 12, after the class token
    result = explain.explain(model, x, "attention", layer=2, head=1, query=(5.5 / 8, 7.5 / 12))
    torch.testing.assert_close(result.raw[0].flatten(), row[1:])
    assert result.source == "blocks.2.attn, head 1"


@pytest.mark.parametrize("name", [n for n in SMALL if n not in ("mixer_cifar",)])
def test_a_change_in_one_place_of_the_image_shows_in_that_place_of_the_tap(name):
    model, x = build(name), noise(name)
    taps = {"stage1"}

    def features(image):
        with torch.inference_mode(), probe(taps=taps) as seen:
            model(image)
        return seen.taps["stage1"].as_map()

    before = features(x)
    h, w = before.shape[2:]
    ph, pw = x.shape[2] // h, x.shape[3] // w
    for row, col in ((0, w - 1), (h - 1, 0), (h // 2, w // 3)):
        changed = x.clone()
        changed[:, :, row * ph : (row + 1) * ph, col * pw : (col + 1) * pw] += 3
        moved = (features(changed) - before).norm(dim=1)[0]
        found = divmod(int(moved.argmax()), w)
        assert max(abs(found[0] - row), abs(found[1] - col)) <= 1


def test_every_method_says_what_it_costs():
    assert all(m.cost.endswith(("forward", "forwards", "channel")) for m in explain.METHODS.values())


def test_every_method_says_in_one_line_what_it_shows_and_groups_stand_together():
    methods = list(explain.METHODS.values())
    assert [group for group, _ in groupby(methods, key=lambda method: method.group)] == list(GROUPS)
    for method in methods:
        assert 20 < len(method.shows) <= 80, method.title
        assert not method.shows.endswith("."), method.title
    assert len({method.shows for method in methods}) == len(methods)


def test_principal_components_are_numpys_and_their_sign_is_fixed():
    features = torch.randn(60, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values, share = principal_components(features, 3)
    centred = (features - features.mean(0)).numpy()
    power, axes = np.linalg.eigh(centred.T @ centred)
    for i in range(3):
        axis = axes[:, -1 - i] * np.sign(axes[np.abs(axes[:, -1 - i]).argmax(), -1 - i])
        np.testing.assert_allclose(values[:, i], centred @ axis, rtol=1e-9, atol=1e-9)
        assert share[i].item() == pytest.approx(power[-1 - i] / power.sum(), rel=1e-9)


def test_a_patch_is_most_like_itself():
    model, x = build("vit_cifar"), noise("vit_cifar")
    raw = explain.explain(model, x, "similarity", query=(2.5 / 8, 9.5 / 12)).raw[0]
    assert divmod(int(raw.argmax()), 12) == (2, 9)
    assert raw.max().item() == pytest.approx(1)


def test_influence_reaches_as_far_as_the_convolutions():
    """Up to stage 1, ResNet-32 has eleven 3x3 convolutions of stride 1: they reach 11 pixels each way."""
    model, x = build("resnet32_cifar"), noise("resnet32_cifar")
    raw = explain.explain(model, x, "influence", query=(16.5 / 32, 24.5 / 48), tap="stage1").raw[0]
    assert (raw[16 - 11 : 16 + 12, 24 - 11 : 24 + 12] > 0).all()
    raw[16 - 11 : 16 + 12, 24 - 11 : 24 + 12] = 0
    assert raw.abs().max() == 0


def test_all_images_share_one_basis():
    """Two copies of an image get equal components; another image in the batch changes the directions of the first."""
    model, x = build("resnet32_cifar"), noise("resnet32_cifar")
    raw = explain.explain(model, torch.cat([x, x]), "pca").raw
    torch.testing.assert_close(raw[0], raw[1])
    other = explain.explain(model, torch.cat([x, x.flip(2)]), "pca").raw
    assert not torch.allclose(raw[0], other[0])


@pytest.mark.parametrize("name", ["swin_cifar", "vit_cifar"])
def test_a_map_does_not_depend_on_the_rest_of_the_batch(name):
    model, x = build(name, **SHORT[name]), noise(name, batch=2)
    for method in (offer.method for offer in explain.available(model) if offer.ok):
        if method.key == "pca":  # all images share one basis
            continue
        few = FEW.get(method.key, {})
        options = {"target": [1, 2]} if method.by_class else {}
        together = explain.explain(model, x, method.key, **options, **few).raw
        for i in range(2):
            options = {"target": i + 1} if method.by_class else {}
            alone = explain.explain(model, x[i : i + 1], method.key, **options, **few).raw
            torch.testing.assert_close(together[i], alone[0], rtol=1e-9, atol=1e-12)


def test_a_wrong_number_of_classes_is_refused():
    model, x = build("resnet32_cifar"), noise("resnet32_cifar", batch=2)
    with pytest.raises(explain.ExplanationError, match="3 classes were given for 2 images"):
        explain.explain(model, x, "grad_cam", target=[1, 2, 3])
    with pytest.raises(explain.ExplanationError, match="classes 0 to 9"):
        explain.explain(model, x, "grad_cam", target=10)


def test_a_contrast_gives_the_difference_of_two_maps():
    model, x = build("resnet32_cifar"), noise("resnet32_cifar")
    one, other = (explain.explain(model, x, "grad_cam", target=t).raw for t in (2, 5))
    both = explain.explain(model, x, "grad_cam", target=2, contrast=5).raw
    torch.testing.assert_close(both, one - other, rtol=1e-9, atol=1e-12)


def test_threads_that_share_a_model_get_the_same_maps_as_one_thread():
    model = build("vit_cifar", **SHORT["vit_cifar"])
    methods = [offer.method.key for offer in explain.available(model) if offer.ok]
    jobs = [(method, noise("vit_cifar") * (i + 1)) for i, method in enumerate(methods)]
    serial = [explain.explain(model, x, method, **FEW.get(method, {})).raw for method, x in jobs]
    found: list = [None] * len(jobs)

    def work(i):
        for _ in range(3):
            method, x = jobs[i]
            found[i] = explain.explain(model, x, method, **FEW.get(method, {})).raw

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(serial, found, strict=True))


@pytest.mark.parametrize("name", ["swin_cifar", "vit_cifar", "resnet32_cifar"])
def test_explaining_does_not_change_the_model(name):
    model, x = build(name, **SHORT.get(name, {})), noise(name)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for method in (offer.method.key for offer in explain.available(model) if offer.ok):
        explain.explain(model, x, method, **FEW.get(method, {}))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert not any(m.training or m._forward_hooks or m._backward_hooks for m in model.modules())
