"""Photos for the tests, and a guard: no test asks an outside host for anything."""

import os

os.environ.update(HF_HUB_OFFLINE="1", GRADIO_ANALYTICS_ENABLED="False", MPLBACKEND="Agg", VISION_ZOO_RECORDS=":memory:")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # each of pytest's workers has one core

import socket

import numpy as np
import pytest
from PIL import Image

LOCAL = {"localhost", "127.0.0.1", "0.0.0.0", "::1", socket.gethostname()}


@pytest.fixture(autouse=True)
def no_outside_host(monkeypatch):
    """Fail a test that looks up a host other than this machine."""
    look_up = socket.getaddrinfo

    def guarded(host, *args, **kwargs):
        name = host.decode() if isinstance(host, bytes) else host
        assert name is None or name in LOCAL, f"a test asked for the outside host {name}"
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", guarded)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Two readable photos of different shapes, as files."""
    folder = tmp_path_factory.mktemp("photos")
    ramp = np.linspace(0, 255, 300 * 200).reshape(200, 300)
    wide = np.stack([ramp, ramp[::-1], np.full_like(ramp, 90)], -1).astype(np.uint8)
    files = []
    for name, image in (
        ("wide.png", Image.fromarray(wide)),
        ("tall.jpg", Image.new("RGB", (90, 240), (30, 120, 200))),
    ):
        image.save(folder / name)
        files.append(folder / name)
    return files
