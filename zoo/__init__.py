"""Image-classification architectures, written to be read, into which the published checkpoints load unchanged."""

from zoo.registry import create as create, create_from as create_from, names as names
