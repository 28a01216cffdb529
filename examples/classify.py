"""Classify a photo: the five most probable classes.

python examples/classify.py PHOTO [CHECKPOINT]
"""

import sys

import torch

import zoo
from zoo import labels

photo = zoo.open_photo(sys.argv[1])
name = sys.argv[2] if len(sys.argv) > 2 else "tf_efficientnet_lite0.pypi_in1k"
row, model = zoo.checkpoint(name), zoo.load(name)
assert row.labels, f"The outputs of {name} have no names: choose a checkpoint that classifies."

x = zoo.preprocess(photo, row)  # resized, cropped and normalised as the checkpoint wants it: (3, H, W)
with torch.inference_mode():
    probabilities = model(x[None]).softmax(1)[0]
for probability, index in zip(*probabilities.topk(5), strict=True):
    print(f"{probability:6.1%}  {labels.names(row.labels)[int(index)]}")
