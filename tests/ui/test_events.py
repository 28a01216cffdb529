"""What the page's handlers answer, and the end of a job when nobody listens any more."""

import asyncio
import base64
import io
import json
import zipfile
from dataclasses import asdict

import gradio as gr
import pytest
from gradio.context import LocalContext

import engine
from engine import LocalEngine, Request
from ui import answer, cards, choices, explore, figures, save, uploads, work

MODEL = "resnet20_cifar"
LION, CHEETAH = uploads.example("lion.jpg"), uploads.example("cheetah.jpg")


FAST = gr.EventData(None, {"do": "measure", "value": "fast"})


@pytest.fixture
def ran(monkeypatch):
    """A new engine for the page."""
    made = LocalEngine()
    monkeypatch.setattr(work, "the_engine", lambda: made)
    return made


def values(model=MODEL, method="grad_cam", target="", against="", count=5, precision="float32"):
    """The values of Parts.choice after the photos."""
    return [model, method, target, against, choices.LAST, choices.MEAN, precision, False, False, count, 0.55]


def classify(photos, asked="changed 1", **chosen):
    return answer.classify(asked, photos, *values(**chosen))


def said(handler) -> dict[str, str]:
    """The last value of each part that an answer put on the page."""

    async def run():
        return [outputs async for outputs in handler]

    parts: dict[str, str] = {}
    names = list(answer.Said.__dataclass_fields__)
    for outputs in asyncio.run(run()):
        parts |= {name: value for name, value in zip(names, outputs, strict=True) if value != gr.skip()}
    return parts


def test_an_answer_has_cards_programs_and_an_address_and_the_latency_is_measured_once(ran):
    found = said(classify([LION, CHEETAH]))
    assert found["results"].count("<article") == 2
    assert "random and untrained" in found["status"]
    assert found["address"] == f"model={MODEL}&photo=lion.jpg&photo=cheetah.jpg"
    assert MODEL in found["zoo_code"] and MODEL in found["client_code"]
    (strip,) = asyncio.run(_all(figures.time_model(MODEL, "float32")))
    assert "median" in strip
    assert asyncio.run(_all(figures.time_model(MODEL, "float32"))) == []  # it is known now
    assert asyncio.run(_all(figures.time_model("resnet50.a1_in1k", "float32"))) == []  # it would cost a download


async def _all(handler):
    return [outputs async for outputs in handler if outputs != gr.skip()]


def test_a_changed_choice_waits_if_it_is_slow_and_a_press_does_not(ran):
    waiting = said(classify([LION], method="occlusion"))
    assert "results" not in waiting
    assert "about 180 forwards a photo. Press Classify" in waiting["status"]
    assert "<article" in said(classify([LION], asked="pressed 1", method="occlusion"))["results"]


def test_without_a_photo_nothing_is_classified(ran):
    assert "There is no photo yet" in said(classify([]))["status"]


@pytest.mark.parametrize("photos", [[{"path": "/etc/passwd", "name": "x"}], "text", [7], [{"path": "example:no.jpg"}]])
def test_what_is_no_photo_of_the_page_is_refused(ran, photos):
    found = said(classify(photos, asked="pressed 1"))
    assert "<article" not in found.get("results", "")
    assert "remove it and add it again" in found["status"] or "There is no photo yet" in found["status"]


def test_a_refused_job_clears_the_cards_and_says_why(ran):
    found = said(classify([LION], model="resnet5000"))
    assert found["results"] == ""
    assert "There is no architecture" in found["status"]


def test_a_class_that_makes_no_sense_leaves_the_cards(ran):
    for chosen, sentence in (
        ({"target": "lion"}, "have no names"),
        ({"target": "3", "against": "3"}, "compared with itself"),
    ):
        found = said(classify([LION], **chosen))
        assert "results" not in found
        assert sentence in found["status"]


def test_a_file_name_is_shown_as_text(ran):
    name = "${alert(1)}<img src=x onerror=alert(1)>.jpg"
    html = said(classify([LION | {"name": name}]))["results"]
    assert "<img src=x" not in html


def test_a_newer_answer_ends_the_older_of_the_same_visitor(ran):
    async def both():
        LocalContext.request.set(gr.Request(session_hash="ann"))
        older = classify([LION], asked="pressed 1", method="integrated_gradients")
        seen = [await anext(older), await anext(older)]
        newer = [outputs async for outputs in classify([LION], asked="pressed 2")]
        rest = [outputs async for outputs in older]
        return seen, newer, rest

    _, newer, rest = asyncio.run(both())
    assert any("<article" in str(outputs[0]) for outputs in newer)
    assert not any("<article" in str(outputs[0]) for outputs in rest)


def test_a_handler_that_is_closed_frees_the_device(ran):
    async def leave():
        handler = classify([LION], asked="pressed 1", model="resnet18", method="score_cam")
        while ran.schedule._holder is None:
            await anext(handler)
        await handler.aclose()
        for _ in range(1000):
            if ran.schedule._holder is None:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the job did not end")

    asyncio.run(leave())


def test_a_job_says_who_asks_for_it(ran, monkeypatch):
    jobs = []

    async def refuse(job):
        jobs.append(job)
        raise engine.EngineError("No.")
        yield

    async def ask():
        LocalContext.request.set(gr.Request(session_hash="ann"))
        for handler in (
            classify([LION]),
            figures.measure(MODEL, "float32", FAST),
            figures.evaluate([LION], *values()),
        ):
            assert "No." in str([outputs async for outputs in handler])

    monkeypatch.setattr(ran, "run", refuse)
    asyncio.run(ask())
    assert [(job.kind, job.visitor) for job in jobs] == [("look", "ann"), ("time", "ann"), ("evaluate", "ann")]


def test_stopped_shows_what_is_known_instead_of_progress(ran):
    known = asyncio.run(_all(figures.time_model(MODEL, "float32")))[-1].split("measured just now")[0]
    status, strip, faithful = explore.stopped(MODEL, "float32", cards.progress("Measuring: 3 of 350", 0.01))
    assert "Stopped." in status and faithful == "" and strip.startswith(known)
    assert explore.stopped(MODEL, "float32", "<table></table>")[2] == gr.skip()


def test_an_evaluation_names_model_method_and_photos(ran):
    html = asyncio.run(_all(figures.evaluate([LION], *values())))[-1]
    assert 'class="verdict"' in html
    assert MODEL in html and "Grad-CAM" in html and "lion.jpg" in html


def asked_for(kind, request, photos, photo=0):
    asked = json.dumps({"photos": photos, "request": asdict(request)})
    return gr.EventData(None, {"kind": kind, "photo": photo, "asked": asked})


def test_files_are_those_of_the_card_that_asks(ran):
    request = Request("test_vit2", "attention", layer="1")
    file, notice = asyncio.run(save.save(asked_for("map", request, [CHEETAH, LION], 1)))
    assert notice == ""
    assert file is not None and file["name"] == "lion.attention.zip"
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(file["content"]))) as kept:
        facts = json.loads(kept.read("map.json"))
    assert facts["model"] == "test_vit2" and facts["method"] == "attention"
    file, _ = asyncio.run(save.save(asked_for("all", request, [CHEETAH, LION])))
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(file["content"]))) as kept:
        assert {"cheetah.jpg/map.npy", "lion.jpg/map.npy", "predictions.csv"} <= set(kept.namelist())


@pytest.mark.parametrize("asked", ["{}", "[]", "not json", '{"photos": [], "request": {"colour": 1}}'])
def test_files_that_cannot_be_made_get_a_sentence(ran, asked):
    file, notice = asyncio.run(save.save(gr.EventData(None, {"kind": "map", "photo": 0, "asked": asked})))
    assert file is None
    assert "press Classify, then save" in notice or "no photo" in notice


def test_the_true_class_is_by_hand_before_the_file_s_name():
    import engine

    row = engine.recipe("tf_efficientnet_lite0.pypi_in1k")
    lion = engine.find_class(row, "lion")
    assert answer.truth(LION, row) == lion
    assert answer.truth(LION | {"truth": "tabby"}, row) == engine.find_class(row, "tabby")
    assert answer.truth(LION | {"truth": "unicorn"}, row) is None
    assert answer.truth(LION | {"name": "IMG_1.jpg"}, row) is None


def test_a_new_model_keeps_what_fits_it():
    weights, facts, method, target, against, *_ = explore.choose_model("resnet50", "attention", "lion", "unicorn")
    assert weights.value == "resnet50.a1_in1k"
    assert "resnet50.a1_in1k" in facts
    assert (method.value, target.value, against.value) == ("grad_cam", "lion", "")


def test_an_explanation_that_the_next_model_lacks_is_replaced_with_a_reason():
    *_, told = explore.choose_model("resnet50", "attention", "", "")
    assert "There is no attention to show" in told and "Grad-CAM is shown in place of Attention" in told
    *_, told = explore.choose_checkpoint("resnet50.a1_in1k", "grad_cam", "", "")
    assert told == ""
