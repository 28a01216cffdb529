"""Image-classification architectures, written to be read, into which the published checkpoints load unchanged.

model = zoo.load("resnet50.a1_in1k")
x = zoo.preprocess(zoo.open_photo("cat.jpg"), zoo.checkpoint("resnet50.a1_in1k"))
model(x[None]).softmax(1)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(
    __name__, __file__
)  # what __init__.pyi lists, when it is asked for
