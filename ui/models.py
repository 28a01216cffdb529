"""The tab of models: every checkpoint in one table, with guides, filters and orders, and the card of one."""

import time
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

import engine
from engine.table import COLUMNS, FACETS, Wanted, find, values
from ui import choices, guides, model_card, table, work
from ui.facts import DATA_SETS
from ui.parts import QUICK, html

BUTTONS = "zoo.buttons(element, trigger) // 'select'"
SCROLL = "() => { if (matchMedia('(max-width: 900px)').matches) document.querySelector('#card').scrollIntoView(); }"
FIRST = {"Classes": ["in1k"]}  # accuracies on other classes do not compare
REVERSED = " reversed"  # end of the text that says the order


@dataclass
class Parts:
    """The components of the tab, in reading order."""

    guides: gr.HTML
    query: gr.Textbox
    facets: list[gr.CheckboxGroup]
    told: gr.HTML
    table: gr.HTML
    card: gr.HTML
    source_head: gr.HTML
    source: gr.Code
    plot: gr.HTML
    guide: gr.Textbox  # its name; this and the next three are not seen
    order: gr.Textbox
    count: gr.Textbox  # lines that are drawn
    chosen: gr.Textbox  # the model of the card
    explored: gr.Textbox  # its change opens the model that it begins with in the first tab; not seen

    @property
    def state(self) -> list[gr.Textbox]:
        """What the buttons change, in the order of `press`."""
        return [self.guide, self.order, self.count, self.chosen]

    @property
    def choice(self) -> list:
        """What decides which lines are seen, in the order of `show`."""
        return [*self.state, self.query, *self.facets]


def layout() -> Parts:
    """Place the components."""
    asked = html("", "guides", BUTTONS)
    with gr.Row(elem_classes="two"):
        with gr.Column(elem_id="listed"):
            with gr.Row(elem_id="search"):
                query = gr.Textbox(
                    label="Search", placeholder="a name, or words such as resnet mobile", elem_id="query", max_lines=1
                )
                told = html("", "found")
            with gr.Accordion("Filters", open=False, elem_id="filters"):
                facets = [_facet(heading) for heading in FACETS]
            listed = html("", "lines", BUTTONS)
        with gr.Column(scale=0, min_width=340, elem_id="beside", elem_classes="sheet"):
            card = html("", "card", BUTTONS)
            head = html("", "source-head")
            source = gr.Code(language="python", interactive=False, show_label=False, max_lines=24, elem_id="source")
            front = html("", "front")
    first = "", "top1", first_page(), choices.first_model(), ""
    guide, order, count, chosen, explored = (gr.Textbox(value, visible="hidden") for value in first)
    shown = card, head, source, front
    return Parts(asked, query, facets, told, listed, *shown, guide, order, count, chosen, explored)


def _facet(heading: str) -> gr.CheckboxGroup:
    named = [(DATA_SETS.get(value, value), value) for value in values(heading)]
    return gr.CheckboxGroup(named, value=FIRST.get(heading, []), label=heading, elem_classes="chips")


def wire(p: Parts, tab: gr.Tab) -> None:
    """Connect events to handlers. Nothing is drawn before the tab is opened."""
    last: dict[str, Any] = dict(trigger_mode="always_last", **QUICK)
    seen = [p.guides, p.told, p.table]
    changed = [p.query.input, *(facet.input for facet in p.facets)]
    gr.on(changed, first_page, None, p.count, **last).then(show, p.choice, seen, **last).then(
        draw, p.choice, p.plot, **last
    )
    for part in (p.guides, p.table):
        part.select(press, p.state, p.state, **last).then(show, p.choice, seen, **last).then(
            draw, p.choice, p.plot, **last
        )
    shown = [p.card, p.source, p.source_head]
    opened = p.chosen.change(model_card.shown, p.chosen, shown, **last)
    opened.then(None, None, None, js=SCROLL, **QUICK).then(show, p.choice, seen, **last)
    p.card.select(act, p.chosen, [p.chosen, p.explored], **last)
    tab.select(show, p.choice, seen, **QUICK).then(model_card.shown, p.chosen, shown, **QUICK).then(
        draw, p.choice, p.plot, **QUICK
    )


def wanted(guide: Any, order: Any, query: Any, *facets: Any) -> tuple[str, Wanted]:
    """The guide and the lines that the page asks for; what a browser sends is only a claim."""
    column, back = str(order).removesuffix(REVERSED), str(order).endswith(REVERSED)
    told = {heading: [str(one) for one in values or []] for heading, values in zip(FACETS, facets, strict=True)}
    return str(guide), Wanted(str(query or ""), told, column if column in COLUMNS else "top1", back)


def show(guide: Any, order: Any, count: Any, chosen: Any, query: Any, *facets: Any) -> list[str]:
    """The guides, how many lines fit, and the first of them."""
    every = work.known_lines()
    asked, what = wanted(guide, order, query, *facets)
    try:
        found = find(what, guides.answered(asked, every))
    except engine.EngineError as error:
        return [guides.buttons(asked, every), "", f'<p class="how">{error}</p>']
    drawn = min(max(int(count), table.PAGE), len(every)) if str(count).isdecimal() else table.PAGE
    told = f'<p class="how" role="status">{len(found):,} of {len(every):,}</p>'
    return [guides.buttons(asked, every), told, table.table(found, drawn, what.order, what.reverse, str(chosen))]


def draw(guide: Any, order: Any, count: Any, chosen: Any, query: Any, *facets: Any) -> str:
    """The plot of what is seen."""
    asked, what = wanted(guide, order, query, *facets)
    try:
        return table.plot(find(replace(what, order="top1"), guides.answered(asked, work.known_lines())))
    except engine.EngineError:
        return ""


def first_page() -> str:
    return str(table.PAGE)


def press(guide: str, order: str, count: str, chosen: str, event: gr.EventData) -> list[str]:
    """A button of the guides or of the table: another guide, order or card, or more lines."""
    what, value = str(event._data.get("do")), str(event._data.get("value"))
    if what == "guide":
        again = value == guide or value not in guides.GUIDES
        return (
            ["", "top1", first_page(), chosen] if again else [value, guides.GUIDES[value].order, first_page(), chosen]
        )
    if what == "order" and value in COLUMNS:
        return [guide, value + REVERSED if value == order else value, first_page(), chosen]
    if what == "open":
        return [guide, order, count, value]
    more = int(count) + table.PAGE if str(count).isdecimal() else table.PAGE
    return [guide, order, str(more), chosen]


def act(chosen: str, event: gr.EventData) -> list:
    """A button of the card: another card, or the model in the first tab."""
    if event._data.get("do") == "explore":
        return [gr.skip(), f"{chosen} {time.time_ns()}"]  # so that it changes each time
    return [str(event._data.get("value")), gr.skip()]
