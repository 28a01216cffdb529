"""Image-classification architectures, written to be read, into which the published checkpoints load unchanged.

model = zoo.load("resnet50.a1_in1k")
x = zoo.preprocess(zoo.open_photo("cat.jpg"), zoo.checkpoint("resnet50.a1_in1k"))
model(x[None]).softmax(1)
"""

from zoo.base import Backbone as Backbone
from zoo.catalogue import (
    Checkpoint as Checkpoint,
    Family as Family,
    accuracy as accuracy,
    all_families as all_families,
    checkpoint as checkpoint,
    checkpoints as checkpoints,
    family_of as family_of,
    for_architecture as for_architecture,
)
from zoo.cost import Cost as Cost, cost as cost
from zoo.download import (
    WeightsError as WeightsError,
    all_local as all_local,
    download as download,
    is_local as is_local,
)
from zoo.fast import Accelerated as Accelerated, accelerate as accelerate
from zoo.fuse import fuse as fuse
from zoo.photo import PhotoError as PhotoError, open_photo as open_photo
from zoo.preprocess import preprocess as preprocess
from zoo.registry import create as create, create_from as create_from, names as names
from zoo.weights import load as load, load_file as load_file
