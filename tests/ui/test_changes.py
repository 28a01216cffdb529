"""The first photo changed by sliders: what is said about it, what is refused, and the panel in a browser."""

import asyncio

import pytest

from engine import LocalEngine
from engine.changes import Change
from ui import changes, choices, uploads, work

LITE0 = "tf_efficientnet_lite0.pypi_in1k"
LION = uploads.example("lion.jpg")
USUAL = list(vars(Change()).values())


@pytest.fixture(autouse=True)
def ran(monkeypatch):
    made = LocalEngine()
    monkeypatch.setattr(work, "the_engine", lambda: made)


def said(sliders, photos=(LION,), model=LITE0, method="grad_cam", count=5) -> list[str]:
    values = [model, method, "", "", choices.LAST, choices.MEAN, "float32", False, False, count, 0.55]

    async def run():
        return [text async for text in changes.changed(*sliders, list(photos), *values)]

    return asyncio.run(run())


def but(**changed: float) -> list[float]:
    return list((vars(Change()) | changed).values())


def test_without_a_change_nothing_changes():
    last = said(USUAL)[-1]
    assert "Still <b>lion</b>" in last
    now, was = last.partition("Still <b>lion</b>: ")[2].partition(", after ")[::2]
    assert was.startswith(now)
    assert last.count("<small>was ") == last.count("<li>") == 5
    assert last.count('class="heat"') == 1


def test_a_covered_lion_is_no_longer_seen():
    last = said(but(box=100), count=3)[-1]
    assert "it was <b>lion</b>" in last and "Still" not in last
    assert last.count("<li>") == 3


def test_a_slow_explanation_is_left_out():
    last = said(but(turn=90), method="occlusion")[-1]
    assert 'class="heat"' not in last and "lion" in last


@pytest.mark.parametrize("value", [181, "90", None, float("nan"), [1]])
def test_a_value_that_no_slider_has_is_refused(value):
    (told,) = said(but(turn=value))
    assert "Turn (°): give a number from -180 to 180." in told


def test_what_cannot_be_looked_at_is_said():
    assert "There is no photo yet" in said(USUAL, photos=())[-1]
    assert "remove it and add it again" in said(USUAL, photos=[LION | {"path": "/etc/passwd"}])[-1]
    assert "needs a download" in said(USUAL, model="resnet50.a1_in1k")[-1]


def test_random_weights_show_the_photo_without_guesses():
    last = said(but(turn=90), model="resnet20_cifar")[-1]
    assert 'class="photo"' in last and "<li>" not in last


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_a_slider_that_was_moved_by_keyboard_changes_the_answer(visit, width):
    with visit(width=width) as page:
        page.locator("#results .cards .heat").wait_for()
        slider = page.locator("#change-box input[type=range]")
        slider.focus()
        for _ in range(4):
            page.keyboard.press("ArrowRight")
        page.locator("#changed .bars li").nth(4).wait_for()
        assert page.locator("#changed").get_by_text("lion").count() >= 1
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("button", name="Put back").click()
        page.locator("#changed").get_by_text("when a slider rests").wait_for()
        assert slider.input_value() == "0"
