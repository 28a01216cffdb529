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
      timing.py      a measured latency
      captions.py    what was seen, and where    records.py      what this machine learned: latencies, looks
      tiles.py       looks drawn small           compare.py      who agrees with whom
    images.py        images as bytes             changes.py       photos changed on purpose
    archive.py       files to save

A model has a name: that of a checkpoint ("resnet50.a1_in1k"), or of an architecture alone ("resnet50"), which then has
random weights. Those are good for its latency and its structure, not for its guesses.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(
    __name__, __file__
)  # what __init__.pyi lists, when it is asked for
