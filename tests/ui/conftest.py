"""The page in a process of its own, and a browser to visit it with."""

from contextlib import contextmanager

import pytest
from gradio_client import Client

from tests.ui.served import browser, outside, phone, serve

# What moves by itself after the page is drawn, as browsers count it: 0 is best, and a sum up to 0.1 is called good.
COUNT_SHIFTS = """window.shifts = [];
const box = ({ x, y, width, height }) => [x, y, width, height].map(Math.round).join(' ');
const moved = ({ node, previousRect, currentRect }) =>
  `${node?.id || node?.className || node?.nodeName} from ${box(previousRect)} to ${box(currentRect)}`;
const count = (list) => list.getEntries().filter((entry) => !entry.hadRecentInput)
  .forEach((entry) => shifts.push([entry.value, Math.round(entry.startTime), entry.sources.map(moved)]));
new PerformanceObserver(count).observe({ type: 'layout-shift', buffered: true });"""


@pytest.fixture(scope="session")  # its start takes longer than most tests
def url(tmp_path_factory):
    """Run `python app.py`, as a person does."""
    with serve(tmp_path_factory.mktemp("app"), "app.py") as address:
        yield address


@pytest.fixture(scope="session")
def client(url, tmp_path_factory):
    """A program that asks the running page."""
    asking = Client(url, verbose=False, analytics_enabled=False, download_files=str(tmp_path_factory.mktemp("down")))
    yield asking
    asking.close()


@pytest.fixture(scope="module")  # while it runs, no other test of this process can start an event loop
def chromium():
    with browser() as found:
        yield found


@pytest.fixture
def visit(chromium, url):
    """Open the page; at the end, check that all its requests stayed on this machine and that no script failed."""

    @contextmanager
    def opened(query="", width=1280, height=900):
        page = chromium.new_page(viewport={"width": width, "height": height})
        asked, failed = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.add_init_script(COUNT_SHIFTS)
        page.set_default_timeout(60_000)
        page.goto(url + query)
        yield page
        page.close()
        assert [address for address in asked if outside(address)] == []
        assert failed == []

    return opened


@pytest.fixture(scope="session")
def widgets_url(tmp_path_factory):
    """Run the small page of widgets_app.py."""
    with serve(tmp_path_factory.mktemp("widgets"), "-m", "tests.ui.widgets_app") as address:
        yield address


@pytest.fixture
def page(chromium, widgets_url):
    """The small page on a phone, where lists must find their place. No script may fail, and none may ask outside."""
    with phone(chromium, widgets_url) as opened:
        yield opened
