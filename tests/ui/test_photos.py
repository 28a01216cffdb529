"""The photo strip in Chromium, on the small page of widgets_app.py."""

import re

import pytest

from tests.ui.served import phone, serve
from ui import uploads

pytestmark = pytest.mark.browser
NASTY = "${alert(1)}<img src=x onerror=alert(1)>.png"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
# Gives files to the page as a drop or a paste would.
HAND_OVER = """([kind, names, type]) => {
    const bytes = Uint8Array.from(atob('PNG'), (letter) => letter.charCodeAt(0));
    const data = new DataTransfer();
    names.forEach((name) => data.items.add(new File([bytes], name, {type})));
    const what = {bubbles: true, cancelable: true, [kind === 'paste' ? 'clipboardData' : 'dataTransfer']: data};
    document.body.dispatchEvent(kind === 'paste' ? new ClipboardEvent(kind, what) : new DragEvent(kind, what));
}""".replace("PNG", PNG)


def wait(page, name, value):
    """Wait until the server has received and the page shows it."""
    page.wait_for_function(
        "([name, value]) => document.querySelector(`#${name} textarea`).value === value", arg=[name, value]
    )


def tiles(page):
    return [image.get_attribute("alt") for image in page.locator("#photos .photos-tile img").all()]


def pressed(page):
    return page.locator("#photos .photos-examples [aria-pressed=true]").count()


def test_uploads_replace_the_first_example_and_are_read(page, photos):
    page.get_by_label("Add photos").set_input_files([str(file) for file in photos])
    wait(page, "said", ", ".join(f"{file.name} {file.stat().st_size}" for file in photos))
    assert tiles(page) == [file.name for file in photos]
    assert pressed(page) == 0
    assert page.locator("#photos .photos-status").inner_text() == "2 photos added."


def test_an_example_is_added_and_a_second_press_takes_it_away(page):
    cheetah = page.get_by_role("button", name="Example cheetah.jpg")
    cheetah.click()
    sizes = {name: file.stat().st_size for name, file in uploads.EXAMPLES.items()}
    wait(page, "said", f"lion.jpg {sizes['lion.jpg']}, cheetah.jpg {sizes['cheetah.jpg']}")
    assert cheetah.get_attribute("aria-pressed") == "true"
    page.evaluate(HAND_OVER, ["paste", ["mine.png"], "image/png"])  # the visitor chose both: neither is replaced
    page.locator(".photos-tile").nth(2).wait_for()
    cheetah.click()
    page.wait_for_function("() => document.querySelectorAll('.photos-tile').length === 2")
    assert tiles(page) == ["lion.jpg", "mine.png"]
    assert cheetah.get_attribute("aria-pressed") == "false"


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_photos_are_dropped_or_pasted_anywhere(page, kind):
    page.evaluate(HAND_OVER, [kind, ["a.png", "b.png"], "image/png"])
    wait(page, "said", "a.png 70, b.png 70")


def test_a_file_name_is_text(page):
    page.evaluate(HAND_OVER, ["drop", [NASTY], "image/png"])
    page.get_by_role("button", name=f"Remove {NASTY}").wait_for()
    assert page.locator("#photos .photos-tile img").get_attribute("alt") == NASTY
    page.get_by_role("button", name=f"Remove {NASTY}").click()
    page.get_by_text(f"{NASTY} removed.").wait_for()
    wait(page, "said", "none")


def test_photos_are_removed_by_keyboard_and_the_focus_stays(page):
    page.evaluate(HAND_OVER, ["drop", ["a.png", "b.png"], "image/png"])
    page.get_by_role("button", name="Remove a.png").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Remove b.png"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Add photos"
    assert tiles(page) == []


def test_at_most_twelve_photos_and_files_that_are_none_are_told(page):
    page.evaluate(HAND_OVER, ["drop", [f"{i}.png" for i in range(14)], "image/png"])
    page.get_by_text("2 photos not added: at most 12 at a time.").wait_for()
    assert tiles(page) == [f"{i}.png" for i in range(12)]
    assert not page.locator(".photos-add").is_visible()
    page.get_by_role("button", name="Example lion.jpg").click()
    page.get_by_text("1 photo not added: at most 12 at a time.").wait_for()
    page.evaluate(HAND_OVER, ["drop", ["a.txt"], "text/plain"])
    page.get_by_text("Not photos: 1 of 1 files.").wait_for()
    assert len(tiles(page)) == 12


def test_a_photo_on_its_way_has_a_tile_and_one_that_fails_a_sentence(page):
    held = []
    page.route(re.compile("/upload"), lambda route: held.append(route))
    page.evaluate(HAND_OVER, ["drop", ["a.png"], "image/png"])
    page.locator(".photos-tile[aria-busy=true]").wait_for()
    while not held:  # the tile may be drawn before the request is made
        page.wait_for_timeout(10)
    held[0].abort()
    page.get_by_text("a.png was not uploaded").first.wait_for()
    assert tiles(page) == ["lion.jpg"]


def test_the_webcam_opens_takes_a_photo_and_closes(page):
    button = page.get_by_role("button", name="Webcam", exact=True)
    button.click()
    page.locator("#photos-camera button:visible").first.click()  # gradio's own: asks for the camera
    page.wait_for_function("() => document.querySelector('#photos-camera video')?.videoWidth > 0")
    page.get_by_role("button", name="capture photo").click()
    page.locator("#photos-camera").wait_for(state="detached")
    assert [re.sub(r"\.\w+$", "", name) for name in tiles(page)] == ["webcam 1"]
    assert button.get_attribute("aria-expanded") == "false"
    page.wait_for_function("() => document.querySelector('#said textarea').value.startsWith('webcam 1')")


def test_everything_of_the_strip_has_a_name(page):
    parts = ", ".join(f"#photos {part}" for part in ("button", "input", "img", "[role=group]"))
    named = "(node) => node.getAttribute('aria-label') || node.textContent.trim() || node.hasAttribute('alt')"
    assert page.locator(parts).count() > 10
    assert page.locator(parts).evaluate_all(f"(nodes) => nodes.every({named})")


@pytest.mark.parametrize("root", ["", "/zoo"])
def test_lists_and_examples_are_served_before_gradios_own_pages(chromium, tmp_path, root):
    with serve(tmp_path, "-m", "tests.ui.widgets_app", root=root) as address, phone(chromium, address) as page:
        asked = page.evaluate("fetch(zoo.address('static/models.json')).then((answer) => answer.json())")
        assert len(asked) > 1000
        page.wait_for_function("() => document.querySelector('#late [role=combobox]').value === 'Late'")
        images = page.locator("#photos img")
        page.wait_for_function("() => [...document.querySelectorAll('#photos img')].every((image) => image.complete)")
        assert images.evaluate_all("(nodes) => nodes.map((image) => image.naturalWidth)") == [96] * images.count()
