"""Parts that gradio lacks: the combobox and the photo strip. launch() needs `head=HEAD` and `css_paths=CSS`."""

from pathlib import Path

from ui.widgets.combobox import Row as Row, combobox as combobox
from ui.widgets.photos import MOST as MOST, PhotoStrip as PhotoStrip, photo_strip as photo_strip

_HERE = Path(__file__).parent
_SCRIPTS = "rows.js", "combobox.js", "photos.js"  # each uses those before it
HEAD = "<script>\n" + "".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS) + "</script>"
CSS: list[Path] = [_HERE / "combobox.css", _HERE / "photos.css"]
