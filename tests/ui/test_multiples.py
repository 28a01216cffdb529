"""Layers and heads as small multiples: what is asked for, and the frames as they come."""

import asyncio
from itertools import pairwise

import pytest

import zoo
from engine import EngineError, LocalEngine, Request
from ui import choices, multiples, uploads, work

MODEL = "cait_cifar.cifar10"
LION = uploads.example("lion.jpg")


@pytest.fixture
def ran(monkeypatch):
    """A new engine for the page."""
    made = LocalEngine()
    monkeypatch.setattr(work, "the_engine", lambda: made)


def values(method="attention", layer=choices.LAST, together=False, model=MODEL):
    return [model, method, "", "", layer, choices.MEAN, "float32", False, together, 5, 0.55]


def run(handler, photos=(LION,), **chosen):
    async def all_of_it():
        return [text async for text in handler(list(photos), *values(**chosen))]

    return asyncio.run(all_of_it())


def test_every_layer_and_every_head_of_a_layer_is_asked_for():
    layers = zoo.cost("cait_cifar").attention_layers
    found = multiples.frames(Request(MODEL, "attention"), multiples.LAYERS)
    assert [request.layer for _, request in found] == [str(i) for i in range(len(layers))]
    for layer in ("0", ""):
        found = multiples.frames(Request(MODEL, "attention", layer=layer), multiples.HEADS)
        assert [request.head for _, request in found] == list(range(layers[int(layer or -1)][1]))
    stages = multiples.frames(Request("resnet20_cifar", "grad_cam"), multiples.LAYERS)
    assert [request.layer for _, request in stages] == [name for name, _ in zoo.cost("resnet20_cifar").stages]


def test_a_head_that_a_layer_lacks_is_shown_as_the_mean():
    found = multiples.frames(Request("swin_cifar", "attention", head=3), multiples.LAYERS)
    counts = [count for _, count in zoo.cost("swin_cifar").attention_layers]
    assert [request.head for _, request in found] == [3 if count > 3 else -1 for count in counts]


@pytest.mark.parametrize(
    ("method", "which", "sentence"),
    [
        ("grad_cam", multiples.HEADS, "Only Attention has heads"),
        ("rollout", multiples.LAYERS, "Attention rollout has no layers to choose from"),
    ],
)
def test_an_explanation_without_them_is_refused_in_a_sentence(method, which, sentence):
    with pytest.raises(EngineError, match=sentence):
        multiples.frames(Request(MODEL, method), which)


def test_frames_come_one_by_one_and_share_a_colour_scale_if_asked(ran):
    count = len(zoo.cost("cait_cifar").attention_layers)
    alone = run(multiples.all_layers)
    assert [text.count("data-frame") for text in alone] == list(range(1, count + 1))
    assert all(later.startswith(text) for text, later in pairwise(alone))
    together = run(multiples.all_layers, together=True)
    assert [text.count("data-frame") for text in together] == [*range(1, count + 1), count]
    assert together[-1] != alone[-1] and together[-2] == alone[-1]
    assert len(run(multiples.all_heads, layer="0")) == zoo.cost("cait_cifar").attention_layers[0][1]


def test_without_a_photo_or_with_another_explanation_there_is_a_sentence(ran):
    assert "There is no photo yet" in run(multiples.all_layers, photos=())[-1]
    assert "Only Attention has heads" in run(multiples.all_heads, method="grad_cam")[-1]


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_a_frame_is_enlarged_and_the_slider_plays(visit, width):
    with visit(f"?model={MODEL}&method=attention", width) as page:
        page.locator(".card footer").get_by_text(MODEL).wait_for()
        page.get_by_role("button", name="All layers").click()
        page.locator("#frames [data-frame]").nth(6).wait_for()
        page.locator("#frames [data-frame]").nth(2).click()
        said = page.locator("#frames output")
        assert said.text_content().startswith("2: ")
        assert page.locator("#frames .big .heat").count() == 1
        page.locator("#frames input[type=range]").focus()
        page.keyboard.press("ArrowRight")
        assert said.text_content().startswith("3: ")
        page.get_by_role("button", name="Play").click()
        page.wait_for_function("!document.querySelector('#frames output').textContent.startsWith('3: ')")
        page.get_by_role("button", name="Pause").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
