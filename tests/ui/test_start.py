"""The start of the page: first the page itself, and behind it what only an answer needs."""

import subprocess
import sys

from engine import zerogpu
from tests.engine.jobs import Spaces
from ui import page, work

SCRIPT = """
import sys
from ui import page
page.build()
assert "torch" not in sys.modules
page.warm_up()
assert "torch" in sys.modules
"""


def test_the_page_is_laid_out_without_torch_and_imports_it_later():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)


def test_on_zerogpu_what_borrows_a_gpu_is_there_before_the_page_starts(monkeypatch):
    borrowing, started = [], []

    class Recorded(Spaces):
        @staticmethod
        def GPU(duration):  # noqa: N802
            borrowing.append(duration)
            return Spaces.GPU(duration)

    class Demo:
        def launch(self, **settings):
            started.extend(borrowing)

        def block_thread(self):
            """Return at once, as if the server were stopped."""

    monkeypatch.setattr(zerogpu, "spaces", Recorded)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(page, "HEAD_START", 1e6)
    work._made.cache_clear()
    page.serve(Demo())
    work._made.cache_clear()
    assert len(started) == 1
