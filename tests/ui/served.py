"""Helpers of the page's tests: run a page in a process of its own, and a browser."""

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", *CAMERA]


@contextmanager
def serve(folder: Path, *command: str, root: str = "", port: int = 0):
    """Run a page by `python COMMAND`, as if a proxy showed it below a root path; gives its address."""
    port = port or free_port()
    settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(folder), "HF_HOME": str(folder)}
    settings |= {"GRADIO_ROOT_PATH": root}
    with (folder / "log").open("w") as log:
        command = (sys.executable, *command)
        app = subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stdout=log, stderr=log)
        for _ in range(300):
            if app.poll() is not None or answers(port):
                break
            time.sleep(0.2)
        assert app.poll() is None, (folder / "log").read_text()
        try:
            yield f"http://127.0.0.1:{port}{root}/"
        finally:
            app.terminate()
            app.wait()
    log = (folder / "log").read_text()
    assert "Traceback" not in log, log


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def browser():
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not at /usr/bin/chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


def outside(address: str) -> bool:
    """Whether an address is not on this machine."""
    return not address.startswith(("http://127.0.0.1", "http://localhost", "data:", "blob:"))


def open_tab(page, name: str) -> None:
    """Open a tab, which gradio puts into a menu where the line is too short for all."""
    page.get_by_role("tab", name="Explore").wait_for()
    tab = page.get_by_role("tab", name=name)
    if not tab.is_visible():
        page.locator(".overflow-menu > button").click()
        tab = page.locator(".overflow-dropdown button", has_text=name)
    tab.click()


@contextmanager
def phone(chromium, address):
    """The small page on a phone, where lists must find their place. No script may fail, and none may ask outside."""
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: wrong.append(request.url) if outside(request.url) else None)
    page.set_default_timeout(20_000)
    page.goto(address)
    page.locator("#photos .photos-tile").wait_for()
    page.locator("#said textarea").wait_for()  # gradio may draw it later than the strip
    yield page
    page.close()
    assert not wrong, wrong
