"""Models kept in memory, so that the next job need not load them again."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from zoo.base import Backbone

GIB = 1 << 30


class Store:
    """Keep the models used last, up to a number of bytes; thread-safe."""

    def __init__(self, load: Callable[[str], Backbone], limit: int = 4 * GIB):
        self.load, self.limit = load, limit
        self.models: OrderedDict[str, Backbone] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, name: str) -> Backbone:
        with self.lock:
            if name not in self.models:
                self.models[name] = self.load(name)
            self.models.move_to_end(name)
            while len(self.models) > 1 and sum(map(weight_bytes, self.models.values())) > self.limit:
                self.models.popitem(last=False)
            return self.models[name]

    def clear(self) -> None:
        with self.lock:
            self.models.clear()


def weight_bytes(model: Backbone) -> int:
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
