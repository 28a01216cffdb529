"""The tab of models: the guides, the table, the card, and the way from a card to the first tab."""

import re
from html import unescape

import gradio as gr
import pytest

import engine
import zoo
from engine.jobs import Seen
from engine.table import FACETS, lines, seen_here
from ui import guides, model_card, models, table, work
from zoo.registry import source

LITE = "tf_efficientnet_lite0.pypi_in1k"
NO_FACETS = [[] for _ in FACETS]


def seen(guide="", order="top1", count="50", query="", facets=NO_FACETS):
    return models.show(guide, order, count, LITE, query, *facets)


def named(html):
    return re.findall(r'data-do="open" data-value="([^"]+)"', html)


def press(do, value="", guide="", order="top1", count="50"):
    return models.press(guide, order, count, LITE, gr.EventData(None, {"do": do, "value": value}))


def test_the_first_page_is_the_most_accurate_and_more_follow():
    _, told, listed = seen()
    every = len(lines())
    assert f"{every:,} of {every:,}" in told
    assert len(named(listed)) == 50
    assert named(seen(count="100")[2])[:50] == named(listed)
    accuracies = [zoo.checkpoint(name).top1 for name in named(listed)]
    assert accuracies == sorted(accuracies, reverse=True)


def test_a_search_a_filter_and_an_unknown_word():
    assert sorted(named(seen(query="tf_efficientnet_lite0")[2])) == ["tf_efficientnet_lite0.in1k", LITE]
    offline = [["offline"] if heading == "Weights" else [] for heading in FACETS]
    assert set(named(seen(facets=offline)[2])) == {row.name for row in zoo.all_local()}
    assert table.NOTHING in seen(query="xyzxyz")[2]
    assert "at most 80 characters" in seen(query=81 * "x")[2]


def test_the_guide_to_what_is_fastest_here_lists_what_was_timed_here(monkeypatch):
    assert "none yet" in guides.buttons("", lines())
    timed = {"resnet50": 20.0, "resnet34": 9.0, "resnet18": 4.0}  # the last one's accuracy is under 75 %
    rows = [engine.offered(name)[0] for name in timed]
    ms = {(row.architecture, *row.size, row.num_classes): timed[row.architecture] for row in rows}
    monkeypatch.setattr(work, "known_lines", lambda: seen_here(lines(), Seen(ms, {rows[0].name: 3})))
    shown, _, listed = seen(guide="here", order="ms")
    found = [line for line in work.known_lines() if line.name in named(listed)]
    assert {line.architecture for line in found} == {"resnet34", "resnet50"}
    assert "<b>resnet34</b>" in shown and "9.00 ms here" in shown
    assert "<td>3</td></tr>" in seen(order="looks")[2].partition("</tr><tr>")[0] + "</tr>"


@pytest.mark.parametrize("name", [name for name in guides.GUIDES if name != "here"])
def test_a_guide_lists_what_its_rule_says_and_its_button_names_the_first(name):
    found = guides.answered(name, lines())
    shown, _, listed = seen(guide=name, order=guides.GUIDES[name].order)
    assert named(listed)[0] == found[0].name
    assert f"<b>{found[0].architecture}</b>" in shown
    assert shown.count('aria-pressed="true"') == 1
    assert all(each.labels == "in1k" for each in found)
    if name in ("fast", "small", "balanced"):
        assert min(each.top1 for each in found) >= guides.GOOD
    if name == "balanced":
        assert max(each.figures.macs for each in found) <= guides.LIGHT_MACS
    if name == "novel":
        assert min(each.family.year for each in found) > max(each.family.year for each in lines()) - guides.NEW


def test_buttons_change_the_guide_the_order_the_card_and_the_number_of_lines():
    assert press("guide", "small") == ["small", "parameters", "50", LITE]
    assert press("guide", "small", guide="small", order="parameters") == ["", "top1", "50", LITE]
    assert press("order", "macs", count="150") == ["", "macs", "50", LITE]
    assert press("order", "macs", order="macs") == ["", "macs reversed", "50", LITE]
    assert press("open", "resnet50.a1_in1k", count="100") == ["", "top1", "100", "resnet50.a1_in1k"]
    assert press("more", count="100") == ["", "top1", "150", LITE]


@pytest.mark.parametrize("order", ["top1", "name", "year reversed"])
def test_the_heading_that_orders_says_so(order):
    assert seen(order=order)[2].count("aria-sort=") == 1


def test_what_makes_no_sense_is_read_as_nothing():
    assert named(seen(order="nonsense", count="many")[2]) == named(seen()[2])
    assert press("order", "nonsense") == ["", "top1", "100", LITE]
    with pytest.raises(engine.EngineError, match="There is no checkpoint"):
        model_card.shown("resnet50.nonsense")


def test_the_plot_has_its_line_in_words():
    drawn = models.draw("", "top1", "50", LITE, "", *NO_FACETS)
    assert drawn.count("<svg") == 1
    told = [float(value) for value in re.findall(r": ([\d.]+) %, [\d.,]+ G</li>", drawn)]
    assert len(told) > 5 and told == sorted(told)
    assert len(drawn) < 100_000
    cifar = [["cifar10"] if heading == "Classes" else [] for heading in FACETS]
    assert models.draw("", "top1", "50", LITE, "", *cifar) == ""


@pytest.mark.parametrize("name", ["resnet50.a1_in1k", "vit_base_patch16_224.augreg_in21k_ft_in1k", "resnet110_cifar"])
def test_a_card_holds_the_catalogues_facts(name):
    card, text, used = model_card.shown(name)
    architecture = name.partition(".")[0]
    family = zoo.family_of(architecture)
    price = zoo.cost(architecture, engine.recipe(name).size)
    for fact in (family.sentence, family.name, str(family.year), f"{price.parameters / 1e6:,.2f} M"):
        assert fact in unescape(card)
    assert all(row.tag in card for row in zoo.for_architecture(architecture))
    assert len(named(card)) == 5 or "cifar" in name
    assert text == source(architecture).read_text()
    assert text.splitlines()[int(re.search(r"line (\d+)", used)[1]) - 1].strip().startswith(f'"{architecture}"')
    for part, first in re.findall(r"(\w+): (\d+) to", used):
        assert text.splitlines()[int(first) - 1].startswith(f"class {part}(")


def test_a_card_shows_the_speed_that_a_paper_states():
    card = model_card.card(model_card.opened("faster_vit_0_224.nv_in1k"))
    assert "5,802 images a second on NVIDIA A100, batch 128" in card and "2306.06189" in card
    assert "Published speed" not in model_card.card(model_card.opened("faster_vit_4_21k_384.nv_in21k_ft_in1k"))


def test_families_of_every_section_have_cards():
    for family in [family for family in zoo.all_families() if family.architectures][::10]:
        line = model_card.opened(family.architectures[-1])
        assert line.family.sentence in unescape(model_card.card(line))


@pytest.mark.browser
@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (768, "dark"), (390, "light")])
def test_a_model_is_found_read_about_and_explored(visit, width, theme):
    with visit(f"?__theme={theme}", width) as page:
        page.get_by_role("tab", name="Models").click()
        page.locator("#lines tbody tr").nth(40).wait_for()
        page.locator("#query input, #query textarea").first.fill("resnet20x2")
        page.locator("#filters > button").click()
        page.get_by_label("ImageNet", exact=True).click()  # take the filter off
        page.locator("#lines").get_by_role("button", name="resnet20x2_cifar.cifar10").click()
        page.locator("#card h2").get_by_text("resnet20x2_cifar.cifar10").wait_for()
        page.locator("#front").wait_for(state="attached")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("button", name="Explore this model").click()
        page.locator(".card footer").get_by_text("resnet20x2_cifar.cifar10").wait_for()


@pytest.mark.browser
def test_a_model_is_found_and_explored_by_keyboard_alone(visit):
    with visit() as page:
        page.get_by_role("tab", name="Models").focus()
        page.keyboard.press("Enter")
        page.locator("#lines tbody tr").nth(40).wait_for()
        page.locator("#query input, #query textarea").first.focus()
        page.keyboard.type("lite1")
        page.wait_for_function("document.querySelectorAll('#lines tbody tr').length < 10")
        page.locator("#lines").get_by_role("button", name=re.compile("lite1.*pypi")).focus()
        page.keyboard.press("Enter")
        page.locator("#card h2").get_by_text("tf_efficientnet_lite1").wait_for()
        page.get_by_role("button", name="Explore this model").focus()
        page.keyboard.press("Enter")
        page.locator(".card footer").get_by_text("tf_efficientnet_lite1").wait_for()
