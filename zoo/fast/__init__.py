"""The fast path: the same answers, sooner. `zoo.accelerate(model, sample)` makes a copy of any model for inference.

    capture.py     model -> a graph of its operators, with what no pixel affects computed ahead
    layers.py      which operators can be computed in the layer that they follow
    kernels.py     oneDNN's kernels for such layers
    pack.py        graph -> the same with those kernels, each after a trial
    cuda.py        the same graph on a GPU
    accelerated.py all of it, and the comparison with the model itself

Nothing here knows a family: what a model does is recorded while it runs.
"""

from zoo.fast.accelerated import Accelerated as Accelerated, accelerate as accelerate
