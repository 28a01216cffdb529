"""Chefer's rule and LeGrad against their papers' dense formulas."""

import pytest
import torch

import explain
import explain.taps
from explain.attention import readout_mass
from tests.models import build, noise
from zoo.probe import STAGES, probe, whole

TOKENS = ["vit_cifar", "test_vit2", "deit_tiny_distilled_patch16_224"]


def graph(model, x):
    with torch.enable_grad(), probe(taps=STAGES, attention=whole, gradient=True) as seen:
        logits = model(x)
    return logits, seen


@pytest.mark.parametrize("name", TOKENS)
def test_chefer_is_the_dense_product(name):
    model, x = build(name), noise(name)
    logits, seen = graph(model, x)
    gradients = torch.autograd.grad(logits[0, 3], [record.weights for record in seen.attention])
    grid = seen.attention[0].geometry.q_grid
    relevance = torch.eye(grid.tokens, dtype=torch.float64)
    for record, gradient in zip(seen.attention, gradients, strict=True):
        relevance = relevance + (gradient * record.weights).clamp(min=0).mean(1)[0] @ relevance
    start = readout_mass(model, grid, 1).double()
    expected = (start @ relevance - start)[0, grid.prefix :].detach().unflatten(0, grid.shape)
    found = explain.explain(model, x, "chefer", target=3).raw[0]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", TOKENS)
def test_legrad_is_the_mean_of_the_layers_positive_gradients(name):
    model, x = build(name), noise(name)
    _, seen = graph(model, x)
    total = torch.zeros(())
    for record, stage in zip(seen.attention, seen.taps.values(), strict=True):
        logit = model.forward_head(model.norm(stage.value))[0, 3]
        (gradient,) = torch.autograd.grad(logit, record.weights, retain_graph=True)
        total = total + gradient.clamp(min=0).mean((0, 1, 2))
    grid = record.geometry.k_grid
    expected = (total / len(seen.attention))[grid.prefix :].unflatten(0, grid.shape)
    found = explain.explain(model, x, "legrad", target=3).raw[0]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_legrad_with_a_learned_query_is_the_gradient_of_its_layer_alone():
    model, x = build("test_vit3"), noise("test_vit3")
    logits, seen = graph(model, x)
    record = seen.attention[-1]
    assert record.geometry.q_grid.tokens == 1
    (gradient,) = torch.autograd.grad(logits[0, 3], record.weights)
    grid = record.geometry.k_grid
    expected = gradient.clamp(min=0).mean((0, 1, 2))[grid.prefix :].unflatten(0, grid.shape)
    torch.testing.assert_close(explain.explain(model, x, "legrad", target=3).raw[0], expected)


def test_swin_has_chefer_but_no_legrad():
    offers = {offer.method.key: offer for offer in explain.available(build("swin_cifar"))}
    assert offers["chefer"].ok
    assert "head cannot read" in offers["legrad"].reason


def test_attention_that_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr("explain.relevance.available_memory", lambda: 1000)
    with pytest.raises(explain.ExplanationError, match="attention rollout"):
        explain.explain(build("vit_cifar"), noise("vit_cifar"), "chefer")
