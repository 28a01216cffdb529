"""What the page can ask for: find a model, classify, explain, evaluate, time. No gradio here.

    search.py        finds models, and says what is known about one
    jobs.py          the input and output of the engine: names, numbers and bytes
    local.py         the engine of this machine: runs jobs, one at a time on the device, quick ones first
      schedule.py    decides which job has the device
      store.py       keeps models in memory
      look.py        classify and explain        faithfulness.py  evaluate        measure.py  time
    images.py        images as bytes             archive.py       the files of a map

A model has a name: that of a checkpoint ("resnet50.a1_in1k"), or of an architecture alone ("resnet50"), which then has
random weights. Those are good for its latency and its structure, not for its guesses.
"""

from engine.archive import archive as archive
from engine.jobs import (
    Answer as Answer,
    Encoded as Encoded,
    Engine as Engine,
    EngineError as EngineError,
    Evaluation as Evaluation,
    Event as Event,
    Guess as Guess,
    Job as Job,
    Look as Look,
    Looks as Looks,
    Map as Map,
    Photo as Photo,
    Place as Place,
    Request as Request,
    Step as Step,
    Timing as Timing,
    Waiting as Waiting,
    answer as answer,
)
from engine.local import LocalEngine as LocalEngine
from engine.search import (
    RANDOM as RANDOM,
    class_names as class_names,
    has_classes as has_classes,
    is_local as is_local,
    offered as offered,
    on_this_machine as on_this_machine,
    recipe as recipe,
    search as search,
)
