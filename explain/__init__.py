"""Explanation maps for every family in zoo/, computed from the model's own taps and attention (zoo/probe.py)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(
    __name__, __file__
)  # what __init__.pyi lists, when it is asked for
