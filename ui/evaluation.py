"""HTML for an evaluation: its verdict first, then the figures, and what they were measured on."""

from html import escape

import engine
from explain import METHODS
from explain.evaluation import CHANCE, DRAWS, Figures, Sample
from explain.verdict import ALIKE, judge

CONTROLS = {"random": "Random map", "centre": "Centre of the photo", "edges": "Edges of the photo"}
MEASURES = {  # heading -> which way is better, and what it is
    "Insertion": (
        "higher is better",
        "the probability of the class while the pixels of a blurred photo come back, the most important first; "
        "its mean over all steps.",
    ),
    "Deletion": (
        "lower is better",
        "the same while pixels of the photo are painted grey, the most important first.",
    ),
    "ROAD": (
        "higher is better",
        "half of how much more probability is lost without the most important pixels than without the least important "
        "ones, each filled in from its surroundings.",
    ),
}
POINTING = (
    f"higher is better; chance is {CHANCE:.0%}".replace("%", " %"),
    "four photos in one image: the share of the map for a class that lies on the photo of that class. "
    "A map that does not depend on the class has a quarter there, whatever it shows.",
)


def evaluation(found: engine.Evaluation, model: str, method: str, photos: list[str]) -> str:
    """Of a method's maps for photos, those that can be read among the ones named."""
    said = judge(found)
    measures = MEASURES | ({"Right photo of four": POINTING} if found.pointing else {})
    verdict = f'<p class="verdict"><b>{escape(said.word)}.</b> {escape(said.sentence)}</p>'
    parts = verdict, table(found, measures), meaning(measures), how(found, model, method, photos)
    return f'<div class="evaluation">{"".join(parts)}</div>'


def table(found: engine.Evaluation, measures: dict[str, tuple[str, str]]) -> str:
    """The method's row, then those of the controls."""
    heads = "".join(f'<th scope="col">{name} <small>{better}</small></th>' for name, (better, _) in measures.items())
    rows = []
    for name, figures in found.figures.items():
        title = CONTROLS.get(name) or f"<b>{escape(METHODS[name].title)}</b>"
        cells = three(figures)
        if found.pointing:  # a control has a quarter by arithmetic, so there is nothing to measure
            cells.append(percent(found.pointing) if name == found.method else "")
        rows.append(f'<tr><th scope="row">{title}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>')
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Figures of the map and of the controls"><table>'
        f'<thead><tr><th scope="col">Map</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def three(figures: Figures) -> list[str]:
    return [number(figures.insertion), number(figures.deletion), number(figures.road, "+")]


def number(sample: Sample, sign: str = "") -> str:
    spread = "" if sample.spread is None else f" ± {sample.spread:.3f}"
    return _minus(f"{round(sample.mean, 3) + 0.0:{sign}.3f}{spread}")  # + 0.0: there is no minus zero


def percent(sample: Sample) -> str:
    return f"{100 * sample.mean:.0f} ± {100 * (sample.spread or 0):.0f} %"


def meaning(measures: dict[str, tuple[str, str]]) -> str:
    """One line a measure, to be opened."""
    lines = [f"<li><b>{name}</b> ({better}): {text}</li>" for name, (better, text) in measures.items()]
    lines.append(
        "<li><b>±</b>: the standard deviation over the photos, for the random map over photos and draws. "
        "The verdict compares photo by photo, so it can find a difference that is smaller than this.</li>"
    )
    return f'<details class="how"><summary>What the columns mean</summary><ul>{"".join(lines)}</ul></details>'


def how(found: engine.Evaluation, model: str, method: str, photos: list[str]) -> str:
    """What it was measured on, what shuffled weights do to the map, and why there was no pointing."""
    names, some = ", ".join(map(escape, photos)), "" if found.images == len(photos) else f" of {len(photos)}"
    count = f"{found.images}{some} photo{'' if len(photos) == 1 else 's'}"
    unread = "; the others cannot be read" if some else ""
    title = METHODS[method].title
    maps = "The maps depend" if found.correlation.mean < ALIKE else "The maps hardly depend"
    sentences = [
        f"Measured on: {count} ({names}{unread}), {escape(model)}, {escape(title)}; "
        f"{DRAWS} draws of the random map for each photo.",
        f"{maps} on the weights: those of the same model with shuffled weights have a rank correlation of "
        f"{_minus(f'{found.correlation.mean:.2f}')} with these (1 if they are the same).",
    ]
    if found.pointing is None:
        sentences.append(
            "With photos of four classes, and no class typed, the map must also find the right photo of four."
            if METHODS[method].by_class
            else f"{escape(title)} does not depend on a class, so it cannot be asked for the right photo of four."
        )
    return f'<p class="how">{" ".join(sentences)}</p>'


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")
