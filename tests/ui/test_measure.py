"""The tab that measures: curves that grow point by point, rows that say why they failed, and a file."""

import asyncio
import base64
import csv
import io

import gradio as gr
import pytest

from engine import LocalEngine, Request, Timing
from tests.engine.jobs import TIMING
from tests.ui.served import open_tab
from ui import curves, measure, work

NAME, OTHER = "resnet9_cifar", "resnet20_cifar"


@pytest.fixture
def ran(monkeypatch):
    """A new engine for the page."""
    made = LocalEngine()
    monkeypatch.setattr(work, "the_engine", lambda: made)
    return made


def run(vary="batch", values="1, 2", seconds=0.2, models=(NAME,)):
    async def all_of_it():
        return [outputs async for outputs in measure.measure(vary, values, seconds, *models)]

    outputs = asyncio.run(all_of_it())
    return [[value for value in column if value != gr.skip()] for column in zip(*outputs, strict=True)]


def test_points_come_one_by_one_with_a_table_and_a_file(ran):
    status, shown, files = run(models=[NAME, OTHER])
    assert [text.count("<tr><th") for text in shown] == [2, 3, 4, 5]  # with the head
    assert [text.count("<svg") for text in shown] == [2, 2, 2, 2]
    assert ["Download" in text for text in shown] == [False, False, False, True]
    told = list(csv.DictReader(io.StringIO(base64.b64decode(files[-1]["content"]).decode())))
    assert [(row["model"], row["batch"]) for row in told] == [(NAME, "1"), (NAME, "2"), (OTHER, "1"), (OTHER, "2")]
    assert status[-1] == "" and any("4 of 4: resnet20_cifar, 2." in text for text in status)
    assert ran.timed(Request(NAME))["fast"].timing.batch == 1  # the usual setting is known from now on


def test_a_point_that_cannot_be_says_why_and_the_others_go_on(ran):
    _, shown, files = run(vary="image", values="8 10 32", models=["vit_gap_cifar"])
    assert "choose a height and a width that" in shown[-1]
    problems = [row["problem"] for row in csv.DictReader(io.StringIO(base64.b64decode(files[-1]["content"]).decode()))]
    assert [bool(problem) for problem in problems] == [False, True, False]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (dict(models=["", ""]), "Choose a model"),
        (dict(values="one"), "Values are whole numbers"),
        (dict(vary="colour"), "What is varied is one of"),
        (dict(models=["nonsense"]), "nonsense"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(ran, asked, sentence):
    status, shown, _ = run(**asked)
    assert sentence in status[-1] and not shown


def test_formats_have_no_values():
    assert measure.show_values("format").visible is False
    assert measure.show_values("batch").value == "1, 2, 4, 8, 16"


def test_the_curves_say_how_they_were_measured():
    text = curves.curves("batch", [(NAME, measure.sweep.points("batch", [1])[0], TIMING)], True)
    assert "AMD EPYC, 2 threads; the model's forward alone" in text and "busy" not in text
    busy = Timing(**vars(TIMING) | {"p90_ms": 200.0})
    assert "<em>busy</em>" in curves.curves("batch", [(NAME, measure.sweep.points("batch", [1])[0], busy)], True)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "theme"), [(1280, "dark"), (768, "light"), (390, "light")])
def test_a_model_is_measured_and_the_page_holds_its_width(visit, width, theme):
    with visit(f"?__theme={theme}&model={NAME}", width) as page:
        open_tab(page, "Measure")
        box = page.get_by_role("combobox", name="Model 1").last
        box.fill("resnet9_cifar")
        box.press("Enter")
        page.get_by_label("Values").fill("1, 2")
        page.get_by_role("button", name="Measure latency").click()
        page.locator("#curves .tool", has_text="Download CSV").wait_for()
        assert page.locator("#curves tbody tr").count() == 2
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.browser
def test_a_model_is_measured_by_keyboard_alone(visit):
    with visit(f"?model={NAME}") as page:
        page.get_by_role("tab", name="Measure").focus()
        page.keyboard.press("Enter")
        page.get_by_role("combobox", name="Model 1").last.focus()
        page.keyboard.press("Control+a")
        page.keyboard.type("resnet9_cifar")
        page.keyboard.press("Enter")
        page.get_by_label("Values").focus()
        page.keyboard.press("Control+a")
        page.keyboard.type("1, 2")
        page.get_by_role("button", name="Measure latency").focus()
        page.keyboard.press("Enter")
        page.locator("#curves .tool", has_text="Download CSV").wait_for()
        assert page.locator("#curves tbody tr").count() == 2
