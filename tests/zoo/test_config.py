"""Configs have few fields, every field is used, and every model obeys them."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

import pytest
import torch
from torch import nn

import zoo
from zoo.base import Config
from zoo.layers.drop import DropPath
from zoo.registry import source, variant

MOST = 14  # fields that a Config may add to base.Config's
COMMON = {field.name for field in fields(Config)}
VARIANTS = {name: variant(name) for name in zoo.names()}
CONFIGS = sorted({type(cfg) for _, cfg in VARIANTS.values()}, key=str)
# No shortcuts around a block, so none can be skipped.
PLAIN = {"vgg", "squeezenet", "inception_v3", "inception_v4", "selecsls"}
ONE_OF_EACH_MODEL = {model: name for name, (model, _) in VARIANTS.items()}.values()


def label(kind: type) -> str:
    return f"{kind.__module__.removeprefix('zoo.')}.{kind.__qualname__}"


def own(kind: type) -> list[str]:
    return [field.name for field in fields(kind) if field.name not in COMMON]


def parts(value: object) -> Iterator[object]:
    """Every dataclass inside a config's field, in tuples and in other parts."""
    if isinstance(value, tuple):
        for item in value:
            yield from parts(item)
    elif is_dataclass(value) and not isinstance(value, type):
        yield value
        for field in fields(value):
            yield from parts(getattr(value, field.name))


def constant(names: list[str], values: list[object]) -> list[str]:
    return [name for name in names if len({repr(getattr(value, name)) for value in values}) < 2]


@pytest.mark.parametrize("kind", CONFIGS, ids=label)
def test_a_config_has_few_fields_and_its_rows_vary_each(kind):
    rows = [cfg for _, cfg in VARIANTS.values() if isinstance(cfg, kind)]
    assert issubclass(kind, Config), f"{label(kind)} does not extend zoo.base.Config"
    assert len(own(kind)) <= MOST, f"{label(kind)} has {len(own(kind))} fields, {MOST} at most: {own(kind)}"
    unused = constant(own(kind), rows)
    assert not unused, f"{label(kind)}: these have one value in all {len(rows)} rows: {unused}"


def test_the_fields_of_every_part_vary():
    """A field that a part inherits may vary in another subclass."""
    found: dict[type, list[object]] = {}
    for _, cfg in VARIANTS.values():
        for part in (part for name in own(type(cfg)) for part in parts(getattr(cfg, name))):
            for kind in filter(is_dataclass, type(part).__mro__):
                found.setdefault(kind, []).append(part)
    declared = {kind: [f.name for f in fields(kind) if f.name in kind.__annotations__] for kind in found}
    unused = {label(kind): constant(declared[kind], values) for kind, values in found.items()}
    unused = {kind: names for kind, names in unused.items() if names}
    assert not unused, f"these have one value wherever the part is used: {unused}"


@pytest.mark.parametrize("name", ONE_OF_EACH_MODEL)
def test_every_model_has_the_drop_rates_of_its_config(name):
    plain = source(name).stem in PLAIN
    with torch.device("meta"):
        model = zoo.create(name, drop=0.25, drop_path=0.0 if plain else 0.5)
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.25]
    if plain:
        with pytest.raises(ValueError, match="has no shortcuts"):
            zoo.create(name, drop_path=0.5)
        return
    assert 0.5 in [m.rate for m in model.modules() if isinstance(m, DropPath)]


@pytest.mark.parametrize("name", ONE_OF_EACH_MODEL)
def test_fields_read_off_a_variants_own_weights_equal_its_config(name):
    model, cfg = VARIANTS[name]
    with torch.device("meta"):
        fitted = model.fit(cfg, zoo.create(name).state_dict())
    assert fitted == {key: getattr(cfg, key) for key in fitted}
