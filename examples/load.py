"""Load a checkpoint and see what is known of it, with no internet.

python examples/load.py [CHECKPOINT]
"""

import sys

import zoo

name = sys.argv[1] if len(sys.argv) > 1 else "resnet32_cifar.cifar10"
row = zoo.checkpoint(name)
model = zoo.load(name)  # from this installation, the cache, or the Hub
cost = zoo.cost(row.architecture, row.size, row.num_classes)

print(f"{name}: {row.num_classes} outputs, images of {row.size[0]}x{row.size[1]}, licence {row.license}")
print(f"{cost.parameters:,} parameters, {cost.macs:,} multiply-adds an image")
print(f"{len(zoo.names())} architectures can be built, {len(zoo.checkpoints())} checkpoints are known")
print(f"of {row.architecture}: {', '.join(other.name for other in zoo.for_architecture(row.architecture))}")
