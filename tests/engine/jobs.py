"""Jobs for the tests, and an engine to run them."""

import io
import pickle

from PIL import Image

from engine import Job, LocalEngine, Look, Photo, Request, Timing

ENGINE = LocalEngine()
RED = Image.new("RGB", (300, 200), (200, 40, 40))
TIMING = Timing("AMD EPYC", "float32", 1, 224, 224, 2, 3, 100, 68.21, 66.4, 70.07, 90.1, 120.5)


def photo(image: Image.Image, name: str = "photo.png") -> Photo:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Photo(name, buffer.getvalue())


def look(request: Request, images: list[Image.Image], engine: LocalEngine = ENGINE) -> list[Look]:
    found = engine.perform(Job("look", request, tuple(map(photo, images))))
    assert not any(isinstance(look, str) for look in found.photos)
    return list(found.photos)


def time_it(model: str, seconds: float, engine: LocalEngine = ENGINE) -> Timing:
    return engine.perform(Job("time", Request(model), seconds=seconds))


class Spaces:
    """ZeroGPU as the engine sees it: arguments and results of a call are pickled."""

    @staticmethod
    def GPU(duration):  # noqa: N802
        def lend(function):
            def call(job):
                if duration(job) > 30:
                    raise RuntimeError("Your share of today is spent.")
                return pickle.loads(pickle.dumps(function(pickle.loads(pickle.dumps(job)))))

            return call

        return lend
