"""Choose a model: search, architecture, weights, and the facts about them. A tab places one and reads `model`."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

import engine
from ui import cards

QUICK: dict[str, Any] = dict(queue=False, show_progress="hidden", api_visibility="private")
COPY = "(chosen) => chosen"


@dataclass
class Picker:
    """The components, in reading order."""

    query: gr.Textbox
    architecture: gr.Radio
    weights: gr.Dropdown
    model: gr.Textbox  # the choice under Weights; hidden
    facts: gr.HTML
    notice: gr.HTML


def layout() -> Picker:
    """Place the components."""
    return Picker(
        query=gr.Textbox(
            label="Find an architecture", placeholder="words, or vit_*_384, or /resnet(18|34)$/", elem_id="query"
        ),
        architecture=gr.Radio(label="Architectures", elem_id="architectures"),
        weights=gr.Dropdown(label="Weights", elem_id="weights"),
        model=gr.Textbox(visible="hidden", elem_id="model"),
        facts=gr.HTML(elem_id="facts"),
        notice=gr.HTML(elem_id="picker-notice"),
    )


def wire(p: Picker) -> None:
    """Connect events to handlers.

    Gradio refuses a choice that left its list while the event was on its way. So no handler receives one: the browser
    copies the chosen weights into a text field, and the architecture is not preprocessed and so not checked.
    """
    chosen = [p.weights, p.model]
    p.query.change(find, p.query, [p.architecture, p.notice], trigger_mode="always_last", **QUICK)
    p.query.submit(take_first, p.query, [p.architecture, *chosen, p.notice], **QUICK)
    p.architecture.input(weights, p.architecture, chosen, preprocess=False, **QUICK)
    p.weights.input(None, p.weights, p.model, js=COPY)
    p.model.change(cards.facts, p.model, p.facts, **QUICK)


def show(model: str) -> tuple[gr.Radio, gr.Dropdown, str]:
    """Set the picker to a model: updates of `architecture`, `weights` and `model`. Raises engine.EngineError."""
    engine.recipe(model)
    architecture = model.partition(".")[0]
    first = engine.search("")
    names = first if architecture in first else [architecture, *first]
    return gr.Radio(choices=labelled(names), value=architecture), *weights(architecture, model)


def first_choice() -> str:
    """The most accurate ImageNet checkpoint that needs no network; where there is none, the best of what there is."""
    here = engine.on_this_machine()
    return here[0].name if here else engine.search("")[0]


def labelled(names: list[str]) -> list[tuple[str, str]]:
    """Label each architecture with its accuracy and whether it works offline."""
    labels = []
    for name in names:
        best = next(iter(engine.offered(name)), None)
        told = [] if best is None or best.top1 is None else [f"{best.top1:.1f} % on {cards.data_set(best)}"]
        if best is None or engine.is_local(best.name):
            told.append("works offline" if best else "no published weights")
        labels.append((" · ".join([name, *told]), name))
    return labels


def weights(architecture: str, chosen: str | None = None) -> tuple[gr.Dropdown, str]:
    """Offer an architecture's checkpoints, the best first, and random weights last; and choose one."""
    rows = engine.offered(architecture)
    choices = [(f"{row.tag} (works offline)" if engine.is_local(row.name) else row.tag, row.name) for row in rows]
    choices.append(("random weights: untrained, for latency and structure only", architecture))
    chosen = chosen or choices[0][1]
    return gr.Dropdown(choices=choices, value=chosen), chosen


def search(query: str) -> tuple[list[str], str]:
    """The matches of a query, and a notice if there are none or the query makes no sense."""
    try:
        found = engine.search(query)
    except engine.EngineError as error:
        return [], cards.notice(str(error))
    return found, "" if found else cards.notice(f"Nothing matches {query!r}: try fewer words.")


def find(query: str) -> tuple[gr.Radio, str]:
    """List the matches of a query; the choice does not change."""
    found, notice = search(query)
    return gr.Radio(choices=labelled(found)), notice


def take_first(query: str) -> tuple:
    """Choose the first match, when Enter is pressed."""
    found, notice = search(query)
    if not found:
        return gr.skip(), gr.skip(), gr.skip(), notice
    return gr.Radio(choices=labelled(found), value=found[0]), *weights(found[0]), notice
