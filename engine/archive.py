"""The files of a map, for whoever wants to keep it; made when they are asked for."""

import io
import zipfile

from engine.images import decode
from engine.jobs import EngineError, Look
from explain import export


def archive(look: Look) -> bytes:
    """A ZIP: the map's values (NPY), how it came about (JSON), its layer, alone and over the photo (PNG)."""
    if look.map is None:
        raise EngineError("There is no map of this photo to save.")
    files = export.files(look.map.values, look.map.facts, decode(look.photo), decode(look.map.layer))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as kept:
        for name, content in files.items():
            kept.writestr(name, content)
    return buffer.getvalue()
