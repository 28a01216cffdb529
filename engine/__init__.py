"""What the page can ask for: find a model, classify, explain, evaluate, time. No gradio here.

    search.py        finds models, and says what is known about one
    table.py         every model as a line: filters, orders, what is near it
    explanations.py  which methods a model allows
    classes.py       finds classes by name
    jobs.py          the input and output of the engine: names, numbers and bytes
    local.py         the engine of this machine: runs jobs, one at a time on the device, quick ones first
      schedule.py    decides which job has the device         limit.py    ends one that computes for too long
      store.py       keeps models in memory      cache.py         keeps answers
      ways.py        models accelerated or compiled
      look.py        classify and explain        faithfulness.py  evaluate        measure.py  time
      captions.py    what was seen, and where    records.py      what this machine learned: latencies, looks
      tiles.py       looks drawn small           compare.py      who agrees with whom
    images.py        images as bytes             archive.py       files to save

A model has a name: that of a checkpoint ("resnet50.a1_in1k"), or of an architecture alone ("resnet50"), which then has
random weights. Those are good for its latency and its structure, not for its guesses.
"""

from engine.archive import (
    archive as archive,
    archive_all as archive_all,
    comparison_csv as comparison_csv,
    probabilities_csv as probabilities_csv,
)
from engine.classes import (
    class_names as class_names,
    find_class as find_class,
    synsets as synsets,
    truth_from_name as truth_from_name,
)
from engine.compare import (
    agreement as agreement,
    mean_alike as mean_alike,
    same_classes as same_classes,
)
from engine.explanations import explanations as explanations
from engine.jobs import (
    PRECISIONS as PRECISIONS,
    WAYS as WAYS,
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
    Measured as Measured,
    Photo as Photo,
    Place as Place,
    Request as Request,
    Seen as Seen,
    Setting as Setting,
    Step as Step,
    Timing as Timing,
    Waiting as Waiting,
    answer as answer,
)
from engine.local import LocalEngine as LocalEngine
from engine.search import (
    RANDOM as RANDOM,
    find_models as find_models,
    has_classes as has_classes,
    is_local as is_local,
    offered as offered,
    on_this_machine as on_this_machine,
    recipe as recipe,
)
