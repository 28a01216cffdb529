"""The combobox in Chromium, on the small page of widgets_app.py."""

import re

import pytest

pytestmark = pytest.mark.browser


def field(page, name):
    return page.locator(f"#{name} [role=combobox]")


def names(page, name):
    return page.locator(f"#{name} .combo-option .combo-name").all_inner_texts()


def hears(page, box, value):
    page.wait_for_function(
        "([at, value]) => document.querySelector('#choice textarea').value.split(' | ')[at] === value",
        arg=[["model", "method", "class", "many", "late", "card"].index(box), value],
    )


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("resnet50", ["resnet50", "resnet50d"]),
        ("RESNET50.a1_in1k", ["resnet50.a1_in1k"]),
        ("vit", ["vit_base_patch16_224", "vit_base_patch16_224.a1_in1k", "fastvit_t8"]),
        ("vit base", ["vit_base_patch16_224"]),
        ("vit*224", ["vit_base_patch16_224"]),
        ("base vit", ["vit_base_patch16_224"]),
        ("base", ["vit_base_patch16_224", "swin_base_patch4_window7_224"]),
        ("t8", ["fastvit_t8"]),
        ("rcan", []),
    ],
)
def test_the_best_match_comes_first(page, query, first):
    field(page, "model").click()
    page.keyboard.type(query)
    assert names(page, "model")[: len(first) or None] == first


def test_typing_an_exact_name_and_enter_takes_it(page):
    field(page, "model").focus()
    page.keyboard.type("resnet50")
    page.keyboard.press("Enter")
    hears(page, "model", "resnet50")
    assert field(page, "model").input_value() == "resnet50"
    assert page.locator("#model .combo-box .combo-right").inner_text() == "80.4 %  ImageNet"
    assert page.locator("#model .combo-below").inner_text() == "about resnet50"


def test_rows_to_be_searched_for_are_not_listed_unasked(page):
    field(page, "model").click()
    assert len(names(page, "model")) == 6
    assert page.locator("#model .combo-foot").inner_text() == "6 in all"
    page.keyboard.type("a1")
    assert len(names(page, "model")) == 6
    assert all(name.endswith(".a1_in1k") for name in names(page, "model"))


def test_the_keyboard_moves_through_a_list_and_the_roles_say_so(page):
    box = field(page, "many")
    box.focus()
    assert box.get_attribute("aria-expanded") == "false"
    page.keyboard.press("ArrowDown")
    assert box.get_attribute("aria-expanded") == "true"
    controlled = page.locator(f"#{box.get_attribute('aria-controls')}")
    assert controlled.get_attribute("role") == "listbox"
    assert controlled.get_attribute("aria-label") == "Many"

    def active():
        option = page.locator(f"#{box.get_attribute('aria-activedescendant')}")
        assert option.get_attribute("role") == "option"
        return option.locator(".combo-name").inner_text()

    assert active() == "model_3"
    assert page.locator("#many [aria-selected=true]").count() == 1
    for key, name in [
        ("ArrowDown", "model_4"), ("PageDown", "model_12"), ("ArrowUp", "model_11"), ("PageUp", "model_3"),
        ("Home", "model_0"), ("ArrowUp", "model_0"), ("End", "model_1999"), ("ArrowDown", "model_1999"),
    ]:  # fmt: skip
        page.keyboard.press(key)
        assert active() == name
    page.keyboard.press("Escape")
    assert box.get_attribute("aria-expanded") == "false"
    assert box.get_attribute("aria-activedescendant") is None
    assert box.input_value() == "model_3"
    assert page.locator("#choice textarea").input_value() == ""


def test_a_field_is_one_tab_stop(page):
    field(page, "class").focus()
    page.keyboard.type("tabby")
    page.keyboard.press("Enter")
    hears(page, "class", "tabby")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#many') !== null")


def test_two_thousand_rows_are_drawn_sixty_at_a_time_and_found_quickly(page):
    field(page, "many").click()
    assert len(names(page, "many")) == 60
    assert page.locator("#many .combo-foot").inner_text() == "60 of 2,000 shown, scroll for more"
    page.locator("#many .combo-list").evaluate("(list) => list.scrollTo(0, list.scrollHeight)")
    page.wait_for_function("() => document.querySelectorAll('#many .combo-option').length === 120")
    page.keyboard.type("model_12")
    assert names(page, "many")[:3] == ["model_12", "model_120", "model_121"]
    assert page.locator("#many .combo-foot").inner_text() == "60 of 139 shown, scroll for more"
    page.keyboard.type("x<b>")
    assert page.locator("#many .combo-foot").inner_text() == "Nothing fits “model_12x<b>”"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert field(page, "many").input_value() == "model_3"  # what is no row is not taken


def test_a_row_that_cannot_be_chosen_says_why(page):
    field(page, "method").click()
    option = page.locator("#method [aria-disabled=true]")
    assert "A convolution network has no attention." in option.inner_text()
    option.click(force=True)
    field(page, "method").fill("Attention rollout")
    page.keyboard.press("Enter")  # nor is another taken in its place
    assert field(page, "method").get_attribute("aria-expanded") == "true"
    page.keyboard.press("Escape")
    assert field(page, "method").input_value() == "Grad-CAM"
    assert page.locator("#choice textarea").input_value() == ""


def test_groups_have_headings_until_something_is_typed(page):
    field(page, "method").click()
    groups = page.locator("#method [role=listbox] > [role=group]")
    assert [group.get_attribute("aria-label") for group in groups.all()] == ["Class maps", "Attention", "Pixels"]
    assert groups.first.locator("[role=option]").count() == 2
    page.keyboard.type("cam")
    assert groups.count() == 0
    page.locator("#method [role=option]", has_text="Layer-CAM").click()
    hears(page, "method", "layer_cam")
    assert page.locator("#method .combo-below").inner_text() == "the same, pixel by pixel"


def test_an_optional_field_takes_a_number_and_can_be_cleared(page):
    field(page, "class").click()
    page.keyboard.type("264")  # a number is the class of that number
    page.keyboard.press("Enter")
    hears(page, "class", "264")
    assert field(page, "class").input_value() == "cardigan"
    page.get_by_role("button", name="Clear Class").click()
    hears(page, "class", "")
    page.keyboard.type("747")  # not the row that holds it
    page.keyboard.press("Enter")
    hears(page, "class", "747")
    field(page, "class").fill("")
    page.keyboard.press("Tab")
    hears(page, "class", "")
    field(page, "class").fill("zebra")
    assert "Enter takes “zebra”" in page.locator("#class .combo-foot").inner_text()
    page.keyboard.press("Enter")
    hears(page, "class", "zebra")


def test_rows_at_an_address_come_later_and_the_value_is_shown_before(page):
    page.reload()
    box = field(page, "late")
    box.wait_for()
    assert box.input_value() == "late"
    page.wait_for_function("() => document.querySelector('#late [role=combobox]').value === 'Late'")
    assert page.evaluate("zoo.fetchRows('late.json') === zoo.fetchRows('late.json')")  # asked once for all


def test_a_list_that_cannot_be_loaded_says_so_and_is_asked_for_again(page):
    page.route(re.compile("late.json"), lambda route: route.fulfill(status=500))
    page.reload()
    field(page, "late").click()
    page.get_by_text("The list could not be loaded").wait_for()
    page.keyboard.press("Tab")
    page.unroute(re.compile("late.json"))
    field(page, "late").click()
    page.locator("#late .combo-option").first.wait_for()


def test_an_update_from_the_server_changes_value_and_rows(page):
    page.locator("#change").click()
    page.wait_for_function("() => document.querySelector('#method [role=combobox]').value === 'Bee'")
    assert page.locator("#method .combo-below").inner_text() == "buzzes"
    field(page, "method").click()
    assert names(page, "method") == ["Bee"]
    assert page.locator("#choice textarea").input_value() == ""  # that was no person's choice


def test_a_combobox_can_be_built_inside_other_html(page):
    page.get_by_role("combobox", name="True class of lion.jpg").click()
    page.keyboard.type("ly")
    page.keyboard.press("Enter")
    hears(page, "card", "lynx")


@pytest.mark.parametrize("name", ["model", "many", "card"])
def test_a_list_lies_inside_the_window(page, name):
    box = field(page, name)
    box.scroll_into_view_if_needed()
    box.click()
    place = page.locator(f"#{name} .combo-popup").bounding_box()
    assert place["x"] >= 0
    assert place["x"] + place["width"] <= 390
    assert place["y"] >= 0
    assert place["y"] + place["height"] <= 844
    field_place = page.locator(f"#{name} .combo-box").bounding_box()
    above, below = place["y"] + place["height"] <= field_place["y"], place["y"] >= field_place["y"] + 30
    assert above or below


def test_enter_before_the_rows_have_come_takes_what_they_bring(page):
    held = []
    page.route("**/late.json", lambda route: held.append(route))
    page.reload()
    field(page, "late").fill("later")
    page.keyboard.press("Enter")
    assert page.locator("#late .combo-foot").inner_text() == "Loading …"
    held[0].continue_()
    hears(page, "late", "later")
    assert field(page, "late").input_value() == "Later"
