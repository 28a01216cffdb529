from . import registry as registry
from .base import Backbone as Backbone
from .catalogue import (
    Checkpoint as Checkpoint,
    Family as Family,
    accuracy as accuracy,
    all_families as all_families,
    checkpoint as checkpoint,
    checkpoints as checkpoints,
    family_of as family_of,
    for_architecture as for_architecture,
)
from .cost import Cost as Cost, cost as cost, native as native
from .download import (
    WeightsError as WeightsError,
    all_local as all_local,
    download as download,
    is_local as is_local,
)
from .fast import Accelerated as Accelerated, accelerate as accelerate
from .fuse import fuse as fuse
from .photo import PhotoError as PhotoError, open_photo as open_photo
from .preprocess import preprocess as preprocess
from .registry import create as create, create_from as create_from, names as names
from .weights import load as load, load_file as load_file
