"""Repeated explanations need no more memory than one."""

import gc
import os
from pathlib import Path

import pytest
import torch

import explain
from tests.models import FEW, SHORT, build, noise

CALLS = 30
STATM = Path("/proc/self/statm")


def resident() -> int:
    """Resident memory of this process in bytes."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


@pytest.mark.parametrize("name", ["resnet32_cifar", "swin_cifar", "vit_cifar"])
def test_no_call_leaks_a_tensor(name):
    model, x = build(name, **SHORT.get(name, {})), noise(name)
    methods = [offer.method.key for offer in explain.available(model) if offer.ok]

    def explain_all() -> int:
        for method in methods:
            explain.explain(model, x, method, **FEW.get(method, {}))
        return live_tensors()

    assert explain_all() == explain_all()


@pytest.mark.skipif(not STATM.exists(), reason="this system does not report a process's memory")
@pytest.mark.parametrize("method", ["grad_cam", "chefer"])
def test_thirty_calls_need_the_memory_of_one(method):
    """The graph and attention of one call take about 12 MB, so thirty leaked ones would exceed the limit."""
    model, x = build("vit_cifar", **SHORT["vit_cifar"]), noise("vit_cifar", batch=8)
    for _ in range(3):
        explain.explain(model, x, method)
    before = resident()
    for _ in range(CALLS):
        explain.explain(model, x, method)
    assert resident() - before < 40e6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("name", ["resnet32_cifar", "vit_cifar"])
def test_a_gpu_gives_the_same_maps(name):
    model, x = build(name), noise(name)
    methods = [offer.method for offer in explain.available(model) if offer.ok]
    here = {m.key: explain.explain(model, x, m.key, **FEW.get(m.key, {})).raw for m in methods}
    model.cuda()
    for key, raw in here.items():
        there = explain.explain(model, x.cuda(), key, **FEW.get(key, {})).raw
        torch.testing.assert_close(there, raw, rtol=1e-6, atol=1e-9)
