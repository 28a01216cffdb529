"""The page as a visitor sees it, in Chromium: the answer first, and everything that can be asked of it."""

import re
import urllib.request
import zipfile

import pytest
from gradio_client import Client

import zoo
from tests.ui.served import open_tab
from ui import link

BUNDLED = next(name for name, row in zoo.checkpoints().items() if row.bundled)
LITE0 = "tf_efficientnet_lite0.pypi_in1k"
ANSWERED = "#results .cards .heat"
BROKEN = {
    "text.jpg": b"this is no photo",
    "empty.png": b"",
    "cut.jpg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01",
}

pytestmark = pytest.mark.browser


def upload(page, files):
    page.locator("#photos input[type=file]").set_input_files([str(f) for f in files])


def choose(page, name, text):
    """Choose by keyboard from the combobox of that name."""
    page.locator(f"#{name} input").fill(text)
    page.keyboard.press("Enter")


def wait_for_foot(page, text, count=1):
    """Wait until so many cards say at their foot what they show."""
    feet = "[...document.querySelectorAll('.card footer')].filter((foot) => foot.innerText.includes(text))"
    page.wait_for_function(f"([text, count]) => {feet}.length === count", arg=[text, count])


def status(page, text):
    page.locator("#status").get_by_text(text).first.wait_for()


def test_the_page_opens_with_a_right_answer_on_the_first_screen_and_nothing_moves(visit):
    with visit() as page:
        page.wait_for_selector(ANSWERED)
        assert re.sub(r"\s+", " ", page.locator(".card h3").inner_text()).startswith("lion.jpg: lion")
        for part in ("#photos", "#model", "#run", ".card .stack", ".card .bars"):
            box = page.locator(part).bounding_box()
            assert box["y"] >= 0 and box["y"] + box["height"] <= 900, f"{part} is not on the first screen: {box}"
        page.wait_for_function("!document.querySelector('#strip s')")  # until the latency is there, too
        shifts = page.evaluate("shifts")
        assert sum(value for value, *_ in shifts) < 0.1, shifts


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (1920, "dark"), (768, "light"), (390, "dark")])
def test_two_photos_and_a_typed_model(visit, photos, width, theme):
    with visit(f"?__theme={theme}", width) as page:
        page.wait_for_selector(ANSWERED)
        upload(page, photos)
        choose(page, "model", BUNDLED.split(".")[0])
        wait_for_foot(page, BUNDLED, 2)
        assert page.locator(".card .heat").count() == 2
        assert page.locator(".card").first.locator(".bars li").count() == 5
        photo, heat = (page.locator(f".card .stack .{part}").first.bounding_box() for part in ("photo", "heat"))
        assert photo == heat  # the map lies exactly on the photo
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_whoever_guesses_first_sees_the_answer_when_it_is_revealed(visit):
    with visit(f"?model={LITE0}") as page:
        wait_for_foot(page, LITE0)
        answer, guess = page.locator(".card .bars"), page.get_by_role("button", name="Guess first")
        reveal = page.get_by_role("button", name="Reveal")
        assert answer.is_visible() and not reveal.is_visible()
        guess.click()
        for part in (".said", ".right", ".heat", ".bars", "footer"):
            assert not page.locator(f".card {part}").first.is_visible(), part
        assert page.locator(".card .photo").is_visible()
        reveal.click()
        assert answer.is_visible() and page.locator(".card .said").is_visible() and not reveal.is_visible()
        choose(page, "method", "LayerCAM")  # a new answer is hidden again
        reveal.wait_for()
        assert not answer.is_visible() and guess.get_attribute("aria-pressed") == "true"
        guess.click()
        assert answer.is_visible()


def test_a_slow_network_loses_no_event(visit):
    """The latency is asked for while the answer still arrives."""
    with visit() as page:
        slow = dict(offline=False, latency=300, downloadThroughput=300_000, uploadThroughput=300_000)
        page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", slow)
        page.reload()
        timed = "(name) => ['median', name].every((text) => document.querySelector('#strip')?.innerText.includes(text))"
        page.wait_for_function(timed, arg="lite")
        choose(page, "model", BUNDLED.split(".")[0])
        page.wait_for_function(timed, arg=BUNDLED)


def test_a_changed_choice_is_answered_by_itself_and_a_slow_one_waits(visit):
    with visit(f"?model={LITE0}") as page:
        wait_for_foot(page, LITE0)
        choose(page, "method", "LayerCAM")
        wait_for_foot(page, "LayerCAM")
        choose(page, "method", "Occlusion")
        status(page, "Press Classify")
        assert page.locator("#answer[data-stale] .card").count() == 1  # the old answer stays, dimmed
        wait_for_foot(page, "LayerCAM")


def test_the_newest_choice_wins_over_a_slow_job(visit):
    with visit("?model=vit_small_patch16_224&method=ablation") as page:
        status(page, "Press Classify")
        for _ in range(2):  # a second press is not swallowed, nor does it run beside the first
            page.locator("#run").click()
            page.get_by_text("Looking: ").wait_for()
        choose(page, "method", "Grad-CAM")
        wait_for_foot(page, "Grad-CAM")
        page.wait_for_timeout(1000)
        wait_for_foot(page, "Grad-CAM")
        assert page.locator("#answer[data-busy]").count() == 0


def test_a_model_chosen_while_another_is_on_its_way_is_not_lost(visit):
    with visit() as page:
        page.wait_for_selector(ANSWERED)
        held = []

        def hold_the_first(route):
            if held:
                route.continue_()
            held.append(route)

        page.route(re.compile("/run/predict"), hold_the_first)
        choose(page, "model", "tf_efficientnet_lite1")
        while not held:
            page.wait_for_timeout(10)
        choose(page, "model", BUNDLED.split(".")[0])
        page.wait_for_timeout(300)
        held[0].continue_()
        wait_for_foot(page, BUNDLED)


def test_stop_ends_a_timing_and_shows_the_one_before(visit):
    with visit() as page:
        page.get_by_role("button", name="accelerated").click()
        page.locator("#strip").get_by_text("Timing: ").wait_for()
        page.locator("#stop").click()
        status(page, "Stopped.")
        page.locator("#strip").get_by_text("measured").wait_for()
        assert page.locator("#answer[data-busy]").count() == 0


def test_stop_and_a_closed_tab_free_the_device(visit, url, photos, tmp_path):
    """A timing waits for slow maps that came first: without Stop, these would take minutes."""
    client = Client(url, verbose=False, analytics_enabled=False, download_files=str(tmp_path))
    with visit("?model=vit_small_patch16_224&method=ablation") as page:
        status(page, "Press Classify")
        page.locator("#run").click()
        page.get_by_text("Looking: ").wait_for()
        page.locator("#stop").click()
        status(page, "Stopped.")
        assert client.submit("resnet20_cifar", 0.1, api_name="/latency").result(timeout=60)["n"] >= 1
        page.locator("#run").click()
        page.get_by_text("Looking: ").wait_for()
    assert client.submit("resnet20_cifar", 0.1, api_name="/latency").result(timeout=60)["n"] >= 1
    client.close()


def test_unreadable_files_get_a_sentence_and_do_not_affect_the_others(visit, photos, tmp_path):
    files = []
    for name, content in BROKEN.items():
        (tmp_path / name).write_bytes(content)
        files.append(tmp_path / name)
    with visit(f"?model={BUNDLED}") as page:
        wait_for_foot(page, BUNDLED)
        upload(page, [*files, photos[0]])
        page.locator(".card").nth(3).wait_for()
        assert page.locator(".card .say").count() == 3
        assert page.locator(".card").nth(3).locator(".bars li").count() == 5
        assert "Traceback" not in page.content()


def test_a_bar_explains_its_class_and_the_class_is_in_the_link(visit):
    with visit(f"?model={LITE0}") as page:
        wait_for_foot(page, "for lion")
        second = page.locator(".bars .bar").nth(1)
        label = second.locator("span").inner_text()
        second.click()
        wait_for_foot(page, f"for {label}")
        assert page.locator("#class input").input_value() == label
        assert page.locator(".bars .bar[aria-pressed=true] span").inner_text() == label
        page.wait_for_function("(label) => new URLSearchParams(location.search).get('class') === label", arg=label)


def test_a_place_is_asked_about_by_mouse_and_by_keyboard(visit):
    with visit("?model=test_vit2&method=similarity") as page:
        page.wait_for_selector(".stack.asks")
        stack = page.locator(".stack.asks")
        box = stack.bounding_box()
        stack.click(position={"x": 0.4 * box["width"], "y": 0.6 * box["height"]})
        placed = """([across, down]) => {
            const ring = document.querySelector('.ring')?.style, busy = document.querySelector('#answer').dataset.busy;
            return ring && !busy && Math.hypot(parseFloat(ring.left) - across, parseFloat(ring.top) - down) < 1; }"""
        page.wait_for_function(placed, arg=[40, 60])
        page.locator(".stack.asks").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.wait_for_function(placed, arg=[50, 60])


def test_maps_and_probabilities_can_be_kept(visit, photos, tmp_path):
    with visit(f"?model={BUNDLED}") as page:
        wait_for_foot(page, BUNDLED)
        upload(page, photos)
        wait_for_foot(page, BUNDLED, 2)
        for kind in ("map", "csv", "all"):
            with page.expect_download() as download:
                page.locator(f"[data-save={kind}]").first.click()
            download.value.save_as(tmp_path / kind)
        with zipfile.ZipFile(tmp_path / "map") as kept:
            assert sorted(kept.namelist()) == ["map.json", "map.npy", "map.png", "overlay.png"]
        assert len((tmp_path / "csv").read_text().splitlines()) == 1 + zoo.checkpoint(BUNDLED).num_classes
        with zipfile.ZipFile(tmp_path / "all") as kept:
            assert {"predictions.csv", "wide.png/map.npy", "tall.jpg/map.npy"} <= set(kept.namelist())


def test_the_view_is_chosen_for_all_cards_and_stays(visit):
    with visit(f"?model={LITE0}&photo=lion.jpg&photo=cheetah.jpg") as page:
        wait_for_foot(page, LITE0, 2)
        page.locator("[data-view=photo]").click()
        seen = "() => [...document.querySelectorAll('.heat')].map((h) => getComputedStyle(h).opacity)"
        assert page.evaluate(seen) == ["0", "0"]
        choose(page, "method", "LayerCAM")
        wait_for_foot(page, "LayerCAM", 2)
        assert page.evaluate(seen) == ["0", "0"]
        page.locator("[data-view=map]").click()
        assert page.evaluate(seen) == ["1", "1"]


def test_the_true_class_is_told_by_the_file_or_by_hand(visit):
    with visit(f"?model={LITE0}") as page:
        wait_for_foot(page, LITE0)
        assert page.locator(".card h3 .right").count() == 1
        page.locator(".truth input").fill("tabby")
        page.keyboard.press("Enter")
        page.locator(".card h3 .wrong").wait_for()
        assert "tabby" in page.locator(".card h3 .wrong").inner_text()
        assert "0 of 1 right" in page.locator(".bar-top").inner_text()


def test_an_evaluation_begins_with_a_verdict_and_goes_with_its_cards(visit):
    with visit(f"?model={BUNDLED}") as page:
        wait_for_foot(page, BUNDLED)
        page.locator("#check").click()
        page.locator("#faithful .verdict").wait_for()
        assert "One photo decides nothing" in page.locator("#faithful .verdict").inner_text()
        assert BUNDLED in page.locator("#faithful").inner_text()
        choose(page, "method", "LayerCAM")
        wait_for_foot(page, "LayerCAM")
        assert page.locator("#faithful .verdict").count() == 0


def test_a_checkpoint_that_cannot_be_had_clears_the_cards_and_offers_random_weights(visit):
    with visit(f"?model={LITE0}") as page:
        wait_for_foot(page, LITE0)
        choose(page, "model", "resnet50.a1_in1k")
        status(page, "needs a download of about 102 MB")
        page.locator("#run").click()
        page.locator("#status button").wait_for()
        assert page.locator(".card").count() == 0
        page.locator("#status button").click()
        wait_for_foot(page, "resnet50 ")
        status(page, "random and untrained")


def test_on_a_low_screen_the_choices_scroll_in_one_column(visit):
    with visit("?model=test_vit2", height=600) as page:
        page.wait_for_selector(ANSWERED)
        page.locator("#advanced button").first.click()
        page.locator("#precision").get_by_text("bfloat16", exact=True).click()
        page.wait_for_function("new URLSearchParams(location.search).get('precision') === 'bfloat16'")
        wide, seen = page.evaluate(
            "(({ scrollWidth, clientWidth }) => [scrollWidth, clientWidth])(document.querySelector('#rail'))"
        )
        assert wide <= seen
        page.locator("#run").click()


def test_a_link_brings_back_the_choice(visit):
    choice = "model=test_vit2&method=attention&layer=3&head=1&photo=cheetah.jpg&opacity=0.30"
    with visit(f"?{choice}") as page:
        wait_for_foot(page, "Attention")
        assert page.locator("#link input").input_value().endswith(f"?{choice}")
        assert page.evaluate("location.search") == f"?{choice}"
        assert page.locator(".card h3").inner_text().startswith("cheetah.jpg")
        assert page.evaluate("getComputedStyle(document.querySelector('.heat')).opacity") == "0.3"


def test_a_link_that_asks_for_what_is_not_there_says_so(visit):
    with visit("?model=resnet5000") as page:
        page.wait_for_selector(ANSWERED)
        assert "There is no architecture" in page.locator("#problems").inner_text()


def test_a_narrow_page_scrolls_to_the_answer_that_was_asked_for(visit):
    with visit(f"?model={LITE0}", width=390, height=844) as page:
        wait_for_foot(page, LITE0)
        page.evaluate("scrollTo(0, 0)")
        page.locator("#run").click()
        page.wait_for_function("scrollY > 100")
        assert -50 < page.locator("#results").bounding_box()["y"] < 200


def test_by_keyboard_alone(visit):
    with visit() as page:
        page.wait_for_selector(ANSWERED)
        page.locator("#model input").focus()
        page.keyboard.type("tf_efficientnet_lite0")
        page.keyboard.press("Enter")
        wait_for_foot(page, LITE0)
        stops = 0
        while page.evaluate("document.activeElement.id") != "run":
            page.keyboard.press("Tab")
            stops += 1
            assert stops < 10, "Classify is more than ten stops after Model"
        page.keyboard.press("Enter")
        while page.evaluate("!document.activeElement.matches('.bars .bar')"):
            page.keyboard.press("Tab")
            stops += 1
            assert stops < 20, "the predictions are more than twenty stops after Model"


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_axe_finds_nothing_serious_of_ours(visit, width, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with visit(f"?__theme={theme}", width) as page:
        page.wait_for_selector(ANSWERED)
        page.wait_for_function("!document.querySelector('#strip s')")
        for tab, drawn in {"Explore": "#results", "Compare": "#run-compare", "Measure": "#run-measure"}.items():
            open_tab(page, tab)
            page.locator(drawn).wait_for()
            grave = [
                (violation["id"], [node["html"][:160] for node in violation["nodes"]])
                for violation in axe.run(page).response["violations"]
                if violation["impact"] in ("serious", "critical")
            ]
            assert grave == [], tab


def test_the_first_load_is_light(url):
    """HTML, config and catalogue; gradio's own scripts are left out."""
    sizes = {}
    for path in ("", "config", "static/models.json"):
        with urllib.request.urlopen(url + path) as answer:
            sizes[path] = len(answer.read())
    assert sum(sizes.values()) < 1_000_000, sizes


def test_the_page_names_no_outside_host(url):
    for path in ("", "theme.css", "config"):
        with urllib.request.urlopen(url + path) as answer:
            text = answer.read().decode()
        hosts = set(re.findall(r"""(?:src|href)=["']https?://([^/"']+)""", text)) - {"www.w3.org", "arxiv.org"}
        assert hosts <= {"127.0.0.1", "gradio.app"}, f"{path} refers to {hosts}"  # links, not requests


def test_the_button_stays_in_sight_with_everything_unfolded(visit):
    with visit() as page:
        page.wait_for_selector(ANSWERED)
        page.locator("#advanced button").first.click()
        page.locator("#opacity input").first.wait_for()
        box = page.locator("#run").bounding_box()
        assert box["y"] + box["height"] <= 900


def test_the_help_and_the_opacity(visit):
    with visit() as page:
        page.wait_for_selector(ANSWERED)
        assert page.evaluate("getComputedStyle(document.querySelector('.heat')).opacity") == str(link.OPACITY)
        page.get_by_role("tab", name="Help").click()
        page.locator("#help-text h1, #help-text h2, #help-text h3").first.wait_for()
