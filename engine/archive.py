"""The files of a map, for a visitor to save; they are made on request."""

import io
import zipfile

from engine.images import decode
from engine.jobs import EngineError, Look
from explain import export


def archive(look: Look) -> bytes:
    """A ZIP of the map's values (NPY), how it was made (JSON), and its layer, alone and over the photo (PNG)."""
    if look.map is None:
        raise EngineError("There is no map of this photo to save: choose an explanation that this model allows.")
    files = export.files(look.map.values, look.map.facts, decode(look.photo), decode(look.map.layer))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as kept:
        for name, content in files.items():
            kept.writestr(name, content)
    return buffer.getvalue()
