"""Show where a model looked in a photo: Grad-CAM laid over it, as a PNG.

python examples/explain_photo.py PHOTO OUT.png [CHECKPOINT]
"""

import sys

import explain
import zoo
from explain import render
from zoo.preprocess import view

photo = zoo.open_photo(sys.argv[1])
name = sys.argv[3] if len(sys.argv) > 3 else "tf_efficientnet_lite0.pypi_in1k"
row, model = zoo.checkpoint(name), zoo.load(name)

found = explain.explain(model, zoo.preprocess(photo, row)[None], "grad_cam")  # found.raw: (1, h, w), signed
where = render.Placement(photo.size, view(photo.size, row).box, row.size)  # each cell is drawn where it looks
layer = render.layer(found.raw[0].numpy(), found.places(row.size), where)
render.overlay(photo, layer, opacity=0.55).save(sys.argv[2])

print(f"{sys.argv[2]}: Grad-CAM for class {found.target}, a map of {found.raw.shape[1]}x{found.raw.shape[2]} cells")
for offer in explain.available(model):
    print(f"{offer.method.title}: {offer.reason or offer.method.cost}")
