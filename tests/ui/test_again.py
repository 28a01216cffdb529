"""The page goes on: loaded again, forgotten by the server, or with a server that was started anew."""

import json
import urllib.request

import pytest

from tests.ui.served import free_port, serve

pytestmark = pytest.mark.browser
SESSIONS = 310  # more than the 300 that the server remembers


def show(page, photo):
    """Add a photo, and wait until it is answered."""
    page.locator("#photos input[type=file]").set_input_files(str(photo))
    answered(page, photo.name)


def answered(page, name):
    heads = "[...document.querySelectorAll('.card h3')]"
    titled = f"(name) => {heads}.some((head) => head.innerText.startsWith(name) && head.innerText.includes('%'))"
    page.wait_for_function(titled, arg=name)


def explain_by(page, method):
    page.locator("#method input").fill(method)
    page.keyboard.press("Enter")
    page.wait_for_function("(name) => document.querySelector('.card footer').innerText.includes(name)", arg=method)


def test_a_page_that_is_loaded_again_keeps_its_photos_and_one_that_is_opened_anew_does_not(visit, photos):
    with visit() as page:
        answered(page, "lion.jpg")
        show(page, photos[0])
        page.reload()
        answered(page, photos[0].name)
        page.goto(page.url.partition("?")[0])
        answered(page, "lion.jpg")


def test_a_photo_that_is_added_before_the_page_has_answered_is_not_lost(visit, photos):
    with visit() as page:
        show(page, photos[0])
        assert page.locator(".card").count() == 1


def test_a_page_whose_session_was_forgotten_goes_on(visit, url, photos):
    with visit() as page:
        answered(page, "lion.jpg")
        show(page, photos[0])
        for number in range(SESSIONS):
            body = json.dumps({"data": ["resnet", 1], "session_hash": f"stranger{number}"}).encode()
            asked = urllib.request.Request(f"{url}gradio_api/run/models", body, {"Content-Type": "application/json"})
            urllib.request.urlopen(asked).close()
        explain_by(page, "LayerCAM")
        answered(page, photos[0].name)
        show(page, photos[1])


def test_a_page_whose_server_was_started_anew_goes_on_and_says_what_is_lost(chromium, photos, tmp_path):
    port = free_port()
    lost, kept = photos
    with chromium.new_page() as page:
        page.set_default_timeout(60_000)
        with serve(tmp_path, "app.py", port=port) as address:
            page.goto(address)
            answered(page, "lion.jpg")
            show(page, lost)
            show(page, kept)
        page.get_by_text("The server does not answer").wait_for()
        page.evaluate("window.before = true")
        for file in tmp_path.rglob(lost.name):
            file.unlink()
        with serve(tmp_path, "app.py", port=port):
            page.wait_for_function("!window.before")  # gradio loads the page again by itself
            answered(page, kept.name)
            assert page.locator(".card").count() == 1
            assert page.locator("#problems").get_by_text("no longer on the server: add them again").count() == 1
            show(page, lost)
