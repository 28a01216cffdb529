"""The page's events: their inputs, their outputs, and the end of a job when nobody listens any more."""

import asyncio
import time
from dataclasses import astuple

import gradio as gr
import pytest

from engine import LocalEngine, Request
from tests.engine.jobs import RED, look
from ui import explore, page, work

SLOW = Request("resnet20_cifar", "integrated_gradients")
QUICK = Request("resnet20_cifar")


@pytest.fixture
def ran(monkeypatch):
    """A new engine for the page."""
    monkeypatch.setattr(work, "ENGINE", LocalEngine())
    return work.ENGINE


def pressed(request, photos):
    """The handler of Look, as gradio calls it."""
    values = [(str(path), None) for path in photos], *astuple(request)[:-1]
    return explore.look(gr.EventData(None, None), gr.Progress(), *values)


async def all_of(handler):
    return [outputs async for outputs in handler if outputs != gr.skip()]


def test_no_handler_receives_a_choice_that_may_have_left_its_list():
    """Gradio refuses such a choice before it calls the handler, so no handler may take one from a changing list."""

    async def build():  # without a running loop, gradio makes one and leaves it open
        return page.build()

    lists = (gr.Radio, gr.Dropdown, gr.CheckboxGroup)
    events = asyncio.run(build()).fns.values()
    checked = [event for event in events if event.fn is not None and event.preprocess]
    changing = {part for event in events for part in event.outputs if isinstance(part, lists) and not part.choices}
    assert {part.elem_id for part in changing} == {"architectures", "weights", "layer", "head"}
    assert [part.elem_id for event in checked for part in event.inputs if part in changing] == []


def test_a_look_gives_cards_then_a_timing(ran, photos):
    shown, timed = asyncio.run(all_of(pressed(QUICK, photos)))
    html, kept, timing, notice = shown
    assert html.count("<article") == 2
    assert [title for title, _ in kept] == ["wide.png", "tall.jpg"]
    assert timing == ""
    assert "random and untrained" in notice
    assert "median" in timed[2]


def test_a_refused_job_gives_a_notice(ran, photos):
    (outputs,) = asyncio.run(all_of(pressed(Request("resnet5000"), photos)))
    assert "There is no architecture" in outputs[3]


def test_with_no_photo_an_example_is_looked_at(ran):
    html, kept, _, _ = asyncio.run(all_of(pressed(QUICK, [])))[0]
    assert html.count("<article") == 1
    assert [title for title, _ in kept] == ["cheetah.jpg"]


def test_a_handler_that_is_closed_frees_the_device(ran, photos):
    async def leave():
        handler = pressed(SLOW, photos)
        while ran.schedule._holder is None:
            assert await anext(handler) == gr.skip()
        await handler.aclose()
        for _ in range(1000):
            if ran.schedule._holder is None:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the job did not end")

    begun = time.monotonic()
    asyncio.run(leave())
    assert time.monotonic() - begun < 30


def test_the_files_of_a_map_go_to_the_visitor_by_name():
    (found,) = look(Request("test_vit2"), [RED])
    kept = [("broken.jpg", "a sentence"), ("my lion.jpg", found)]
    file, notice = explore.save(kept, gr.EventData(None, {"index": 1}))
    assert file["name"] == "my lion.grad_cam.zip"
    assert notice == ""
    file, notice = explore.save(None, gr.EventData(None, {"index": 1}))
    assert file is None
    assert "press Look again" in notice
