"""Answers to looks, kept so that the same look is answered again without the device."""

import hashlib
import pickle
import threading
from collections import OrderedDict

from engine.jobs import Answer, Job, Looks, Request

LIMIT = 128 << 20  # bytes

Key = tuple[Request, tuple[bytes, ...]]  # what was asked, and the SHA-256 of each photo


class Answers:
    """Keep the answers used last, up to a number of bytes; thread-safe.

    They are kept pickled: so their bytes are known, and nobody changes a kept answer through one that was handed out.
    """

    def __init__(self, limit: int = LIMIT):
        self.limit, self.held = limit, 0
        self._kept: OrderedDict[Key, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, job: Job) -> Key | None:
        """What the answer depends on; None for a job whose answer is not kept. The names of photos do not matter."""
        return (
            (job.request, tuple(hashlib.sha256(photo.data).digest() for photo in job.photos))
            if job.kind == "look"
            else None
        )

    def get(self, key: Key | None) -> Answer | None:
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            found = self._kept[key]
        return pickle.loads(found)

    def put(self, key: Key | None, answer: Answer) -> None:
        """Keep an answer, unless it holds the refusal of a photo, which says the photo's name."""
        if key is None or not isinstance(answer, Looks) or any(isinstance(look, str) for look in answer.photos):
            return
        packed = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
        with self._lock:
            self.held += len(packed) - len(self._kept.pop(key, b""))
            self._kept[key] = packed
            while self.held > self.limit:
                self._drop(next(iter(self._kept)))

    def forget(self, model: str) -> None:
        """Drop a model's answers, because its weights may have changed."""
        with self._lock:
            for key in [key for key in self._kept if key[0].model == model]:
                self._drop(key)

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self.held = 0

    def _drop(self, key: Key) -> None:
        self.held -= len(self._kept.pop(key))
