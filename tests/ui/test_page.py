"""The page as a visitor sees it: by program, and in Chromium, wide and narrow, light and dark."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

import engine
import zoo
from zoo import memory

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
BUNDLED = next(name for name, row in zoo.checkpoints().items() if row.bundled)
BROKEN = {
    "text.jpg": b"this is no photo",
    "empty.png": b"",
    "cut.jpg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01",
}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Run `python app.py`, as a person does, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("app")
    settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(folder), "HF_HOME": str(folder)}
    with (folder / "log").open("w") as log:
        app = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=os.environ | settings, stdout=log, stderr=log)
        address = f"http://127.0.0.1:{port}/"
        for _ in range(300):
            if app.poll() is not None or answers(port):
                break
            time.sleep(0.2)
        assert app.poll() is None, (folder / "log").read_text()
        yield address
        app.terminate()
        app.wait()
    assert "Traceback" not in (folder / "log").read_text()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_models_guesses_and_latency_by_program(url, tmp_path, photos):
    client = Client(url, verbose=False, analytics_enabled=False, download_files=str(tmp_path))
    found = client.predict("vit_tiny_patch16_[23]*", api_name="/models")
    assert found == ["vit_tiny_patch16_224", "vit_tiny_patch16_384"]
    timing = client.predict("resnet20_cifar", 0.3, api_name="/latency")
    assert timing["median_ms"] > 0
    assert timing["height"] == 32
    assert "median" in timing["method"]
    guesses = client.predict(handle_file(photos[0]), BUNDLED, api_name="/classify")
    assert len(guesses) == 5
    assert [g["probability"] for g in guesses] == sorted((g["probability"] for g in guesses), reverse=True)
    with pytest.raises(AppError, match="There is no checkpoint"):
        client.predict(handle_file(photos[0]), "resnet5000.x", api_name="/classify")
    client.close()


def test_the_page_names_no_outside_host(url):
    for path in ("/", "/theme.css", "/config"):
        with urllib.request.urlopen(url.rstrip("/") + path) as answer:
            text = answer.read().decode()
        hosts = set(re.findall(r"""(?:src|href)=["']https?://([^/"']+)""", text)) - {"www.w3.org"}
        assert hosts <= {"127.0.0.1", "gradio.app"}, f"{path} refers to {hosts}"  # a link to gradio, not a request


@pytest.fixture(scope="module")
def chromium():
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not at /usr/bin/chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield browser
        browser.close()


@contextmanager
def visit(chromium, address, width=1280):
    """Open a page of the usual height, and check that all its requests stay on this machine."""
    page = chromium.new_page(viewport={"width": width, "height": 900})
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(60_000)
    page.goto(address)
    page.wait_for_selector("#facts dl")
    yield page
    outside = [u for u in asked if not u.startswith(("http://127.0.0.1", "http://localhost", "data:", "blob:"))]
    page.close()
    assert outside == []


def look(page, files):
    page.locator("#photos input[type=file]").first.set_input_files([str(f) for f in files])
    page.locator("#photos .thumbnail-item, #photos .grid-container img, #photos button img").nth(
        len(files) - 1
    ).wait_for()
    page.locator("#run").click()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_two_photos_a_typed_model_guesses_latency_and_a_map(chromium, url, photos, width, theme):
    with visit(chromium, f"{url}?__theme={theme}", width) as page:
        page.locator("#query input, #query textarea").first.fill(BUNDLED.split(".")[0])
        page.keyboard.press("Enter")
        page.get_by_text("works offline").first.wait_for()
        look(page, photos)
        page.locator(".card").nth(1).wait_for()
        page.wait_for_selector(".timing")
        assert page.locator(".card .heat").count() == 2
        assert page.locator(".card").first.locator(".guesses li").count() == 5
        assert "median" in page.locator(".timing").inner_text()
        photo, heat = (page.locator(f".card .photo {part}").first.bounding_box() for part in ("img", ".heat"))
        assert photo == heat  # the map lies exactly on the photo
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.browser
def test_a_choice_survives_a_search_that_does_not_find_it(chromium, url):
    with visit(chromium, url) as page:
        chosen = page.locator("#architectures input:checked")
        query = page.locator("#query input, #query textarea").first
        chosen.wait_for()
        first = chosen.input_value()
        for words in ("mixer", "mixer_c", "mixer_cifar"):  # faster than the page answers
            query.fill(words)
        page.wait_for_function("() => document.querySelectorAll('#architectures input').length === 1")
        assert chosen.count() == 0
        query.fill("")
        chosen.wait_for()
        assert chosen.input_value() == first


@pytest.mark.browser
def test_unreadable_files_get_a_sentence_and_do_not_affect_the_others(chromium, url, photos, tmp_path):
    files = []
    for name, content in BROKEN.items():
        (tmp_path / name).write_bytes(content)
        files.append(tmp_path / name)
    with visit(chromium, url) as page:
        look(page, [*files, photos[0]])
        cards = page.locator(".card")
        cards.nth(3).wait_for()
        page.wait_for_selector(".timing")
        assert page.locator(".card .notice").count() == 3
        assert cards.nth(3).locator(".guesses li").count() == 5
        assert "Traceback" not in page.content()


@pytest.mark.browser
def test_a_click_asks_about_that_place_and_a_map_can_be_kept(chromium, url, photos, tmp_path):
    with visit(chromium, f"{url}?model=test_vit2&method=similarity") as page:
        look(page, photos)
        page.wait_for_selector(".timing")
        stack = page.locator(".stack.asks").nth(1)
        box = stack.bounding_box()
        stack.click(position={"x": 0.4 * box["width"], "y": 0.6 * box["height"]})
        # The other photo has no ring: it is compared with this place.
        page.wait_for_function("() => document.querySelectorAll('.ring').length === 1")
        ring = page.locator(".card").nth(1).locator(".ring")
        assert ring.evaluate("(mark) => parseFloat(mark.style.left)") == pytest.approx(40, abs=1)
        assert ring.evaluate("(mark) => parseFloat(mark.style.top)") == pytest.approx(60, abs=1)
        with page.expect_download() as download:
            page.locator(".card .save").first.click()
        download.value.save_as(tmp_path / "map.zip")
        with zipfile.ZipFile(tmp_path / "map.zip") as kept:
            assert sorted(kept.namelist()) == ["map.json", "map.npy", "map.png", "overlay.png"]


@pytest.mark.browser
def test_the_page_opens_with_a_right_answer_and_a_link_does_not(chromium, url):
    with visit(chromium, url) as page:
        page.wait_for_selector(".card .heat")
        assert page.locator(".guesses li .label").first.inner_text() == "cheetah"
        page.wait_for_selector(".timing")
        assert page.locator(".card").count() == 1
        assert page.locator("#photos .thumbnail-item").count() == 0  # where photos are dropped is free
    with visit(chromium, f"{url}?model=resnet20_cifar") as page:
        page.wait_for_timeout(1000)
        assert page.locator(".card").count() == 0
        page.locator("#run").click()  # with no photo, the example
        page.wait_for_selector(".card")
        assert page.locator(".card h3").inner_text() == "cheetah.jpg"


@pytest.mark.browser
def test_an_example_joins_the_photos(chromium, url):
    with visit(chromium, f"{url}?model=resnet20_cifar") as page:
        for count, example in enumerate(page.locator("#examples .thumbnail-item").all()[:2], 1):
            example.click()
            page.locator("#photos .thumbnail-item").nth(count - 1).wait_for()


@pytest.mark.browser
def test_stop_and_a_closed_tab_free_the_device(chromium, url, photos, tmp_path):
    """A timing waits for slow maps that came first: without Stop, these would take minutes."""
    client = Client(url, verbose=False, analytics_enabled=False, download_files=str(tmp_path))
    with visit(chromium, f"{url}?model=vit_small_patch16_224&method=ablation") as page:
        look(page, 6 * photos)
        page.get_by_text("Looking: ").wait_for()
        page.locator("#stop").click()
        page.get_by_text("Stopped.").wait_for()
        assert client.submit("resnet20_cifar", 0.1, api_name="/latency").result(timeout=60)["n"] >= 1
        page.locator("#run").click()
        page.get_by_text("Looking: ").wait_for()
    assert client.submit("resnet20_cifar", 0.1, api_name="/latency").result(timeout=60)["n"] >= 1
    client.close()


@pytest.mark.browser
def test_a_link_brings_back_the_choice(chromium, url):
    choice = "?model=test_vit2&method=attention&layer=3&head=1"
    with visit(chromium, url + choice) as page:
        page.wait_for_function("() => document.querySelector('#link textarea, #link input')?.value.includes('layer=3')")
        assert page.locator("#link textarea, #link input").first.input_value() == choice
        assert page.evaluate("location.search") == choice


@pytest.mark.browser
def test_a_link_to_an_unknown_model_says_so_and_offers_the_first_choice(chromium, url):
    with visit(chromium, url + "?model=resnet5000") as page:
        page.get_by_text("There is no architecture").wait_for()
        page.get_by_text("works offline").first.wait_for()


def test_a_model_that_does_not_fit_into_memory_is_refused_with_a_sentence(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 10_000_000)
    with pytest.raises(engine.EngineError, match="choose a smaller model"):
        engine.LocalEngine().perform(engine.Job("time", engine.Request("vit_gigantic_patch14_224")))
