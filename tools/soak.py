"""Let several users ask a running page at once for minutes, and compare every answer with one computed alone.

    python -m tools.soak                          eight users, ten minutes
    python -m tools.soak --minutes 2 --users 4    fewer
    python -m tools.soak --only compare           nothing but comparisons of two models on several photos

The app runs in a process of its own, with this one's environment. Its users mostly ask for quick looks, sometimes for
slow maps, comparisons or timings, and sometimes leave while a slow map is computed. Fails on an error, on a wrong
answer, and if the app's memory grows after the first minute; that includes its cache of answers, which grows to 128 MB
and no further.
"""

import argparse
import io
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from gradio_client import Client, handle_file
from PIL import Image

import zoo
from engine import Job, LocalEngine, Look, Looks, Photo, Request
from engine.records import VARIABLE
from ui.uploads import EXAMPLES

ROOT = Path(__file__).parents[1]
MODELS = "tf_efficientnet_lite0.pypi_in1k", next(row.name for row in zoo.checkpoints().values() if row.bundled)
CLASSES = "", "3", "5"  # the models have different ones by these numbers
SLOW = "occlusion", "integrated_gradients", "score_cam"
MIX = {
    "classify": 43,
    "grad_cam": 38,
    "slow": 6,
    "latency": 3,
    "compare": 4,
    "closed tab": 6,
}  # shares of the calls, in percent
QUICK = "classify", "grad_cam"
CROPS, SLOW_CROPS = 40, 2  # of the examples; slow maps are made of the first ones only
NEW = 0.8  # share of photos whose bytes no cache knows
PAUSE, STAY, LAST = (0.2, 2.0), (0.5, 4.0), 120.0  # seconds: between calls; until a tab is closed; to end the last call
GROWTH = 1.25

Asked = tuple[int, Request]  # number of a crop, and what is asked about it


@dataclass
class Visits:
    """What the users share, and what they saw."""

    address: str
    folder: Path
    crops: list[bytes]
    serial: dict[Asked, tuple[np.ndarray, np.ndarray]]
    stop: threading.Event = field(default_factory=threading.Event)
    calls: Counter[str] = field(default_factory=Counter)
    quick: dict[tuple[bool, bool], list[float]] = field(default_factory=dict)  # by beside slow work, and known
    wrong: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    answered: set[tuple[Asked, bytes]] = field(default_factory=set)
    slow: int = 0  # calls that are not quick, now
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def timed(self, kind: str, known: bool = False) -> Iterator[None]:
        """Count a call, and keep how long it takes if it is quick and gets an answer."""
        quick = kind in QUICK
        with self.lock:
            self.calls[kind] += 1
            times = self.quick.setdefault((self.slow > 0, known), [])
            self.slow += not quick
        begun = time.perf_counter()
        try:
            yield
            if quick:
                times.append(time.perf_counter() - begun)
        finally:
            with self.lock:
                self.slow -= not quick


class User(threading.Thread):
    """Asks, pauses and asks again until the visits stop."""

    def __init__(self, number: int, visits: Visits, mix: dict[str, int]):
        super().__init__(daemon=True)
        self.mix = mix
        self.visits, self.file, self.random = visits, visits.folder / f"user{number}.jpg", random.Random(number)
        self.arrive()

    def arrive(self) -> None:
        folder = str(self.visits.folder)
        self.client = Client(self.visits.address, verbose=False, analytics_enabled=False, download_files=folder)

    def run(self) -> None:
        while not self.visits.stop.wait(self.random.uniform(*PAUSE)):
            (kind,) = self.random.choices(list(self.mix), list(self.mix.values()))
            try:
                self.ask(kind)
            except Exception as error:
                self.visits.errors.append(f"{kind}: {type(error).__name__}: {error}")

    def ask(self, kind: str) -> None:
        if kind == "latency":
            with self.visits.timed(kind):
                assert self.client.predict(self.random.choice(MODELS), 1.0, api_name="/latency")["median_ms"] > 0
        elif kind == "compare":
            self.compare()
        elif kind == "closed tab":
            self.client.close()
            self.arrive()
            with self.visits.timed(kind):
                leave(self.visits.address, self.random)
        else:
            self.look(kind)

    def look(self, kind: str) -> None:
        """Send a photo, and compare the answer with the serial one."""
        choose, crop = self.random.choice, self.random.randrange(SLOW_CROPS if kind == "slow" else CROPS)
        method = {"classify": "", "slow": choose(SLOW)}.get(kind, kind)
        asked = crop, Request(choose(MODELS), method, choose(CLASSES) if kind == "grad_cam" else "")
        # No decoder reads what follows the end of a JPEG, so the answer stays the same.
        ending = self.random.randbytes(8) if self.random.random() < NEW else b""
        self.file.write_bytes(self.visits.crops[crop] + ending)
        with self.visits.timed(kind, (asked, ending) in self.visits.answered):
            found = self.predicted(asked[1])
        self.visits.answered.add((asked, ending))
        if not equal(found, *self.visits.serial[asked], asked[1].target):
            self.visits.wrong.append(f"{kind}: {asked}")

    def compare(self) -> None:
        """Compare the models on a few photos, and each cell with the serial answer."""
        crops, files = self.random.sample(range(CROPS), self.random.randint(1, 4)), []
        for place, crop in enumerate(crops):
            files.append(self.file.with_suffix(f".{place}.jpg"))
            files[-1].write_bytes(self.visits.crops[crop] + self.random.randbytes(8))
        with self.visits.timed("compare"):
            photos = [handle_file(file) for file in files]
            found = self.client.predict(photos, list(MODELS), ["grad_cam"], api_name="/compare")
        for column in found["columns"]:
            for crop, cell in zip(crops, column["photos"], strict=True):
                asked = crop, Request(column["model"], method="")
                if cell["problem"] or not equal(cell, *self.visits.serial[asked], ""):
                    self.visits.wrong.append(f"compare: {asked}: {cell['problem']}")

    def predicted(self, request: Request) -> Any:
        if not request.method:
            return self.client.predict(handle_file(self.file), request.model, 20, api_name="/classify")
        return self.client.predict(
            handle_file(self.file), request.model, request.method, request.target, api_name="/explain"
        )


def equal(found: Any, shares: np.ndarray, values: np.ndarray, target: str) -> bool:
    """Whether an endpoint's answer is that of the probabilities and the map that were computed alone."""
    top = shares.argmax()
    if isinstance(found, dict):
        off = max(abs(shares[guess["index"]] - guess["probability"]) for guess in found["guesses"])
        return bool(found["guesses"][0]["index"] == top and off <= 1e-4)
    _, file, facts = found
    off, most = np.abs(np.load(file) - values).max(), np.abs(values).max()
    return bool(facts["target"] == int(target or top) and off <= 1e-3 * most)


def leave(address: str, chance: random.Random) -> None:
    """Start a slow map as the page does, and drop the connection after a while."""
    config = httpx.get(f"{address}/config").json()
    (results,) = (part["id"] for part in config["components"] if part["props"].get("elem_id") == "results")
    jobs = [row for row in config["dependencies"] if results in row["outputs"] and len(row["inputs"]) > 2]
    (job,) = (row for row in jobs if row["targets"][0][1] == "change")
    name, session = chance.choice(list(EXAMPLES)), f"{chance.getrandbits(40):x}"
    photos = [{"path": f"example:{name}", "url": "", "name": name, "truth": ""}]
    chosen = {"photos": photos, "weights": chance.choice(MODELS), "method": chance.choice(SLOW)}
    chosen["signed"] = bool(chance.getrandbits(1))
    parts = {part["id"]: part["props"] for part in config["components"]}
    shown = [parts[number] for number in job["inputs"][1:]]  # after the text that starts the job
    data = [f"pressed {session}", *(chosen.get(part.get("elem_id"), part.get("value")) for part in shown)]
    asked = {"data": data, "fn_index": job["id"], "session_hash": session, "trigger_id": job["targets"][0][0]}
    httpx.post(f"{address}/gradio_api/queue/join", json=asked).raise_for_status()
    stay = chance.uniform(*STAY)
    end, where = time.monotonic() + stay, f"{address}/gradio_api/queue/data?session_hash={session}"
    with suppress(httpx.ReadTimeout), httpx.stream("GET", where, timeout=httpx.Timeout(30, read=stay)) as events:
        events.raise_for_status()
        for line in events.iter_lines():
            assert '"success":false' not in line, line
            if time.monotonic() > end:
                return


@contextmanager
def serve(folder: Path, *command: str) -> Iterator[tuple[str, int]]:
    """Run `python app.py`, or another command of Python; gives its address and the number of its process."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    settings = {"GRADIO_SERVER_PORT": address.rpartition(":")[2], "HF_HUB_OFFLINE": "1"}
    settings |= {"GRADIO_TEMP_DIR": str(folder / "gradio"), "HF_HOME": str(folder / "hub"), VARIABLE: ":memory:"}
    with (folder / "log").open("w") as log:
        command = (sys.executable, *(command or ("app.py",)))
        app = subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stdout=log, stderr=log)
        try:
            with httpx.Client() as client:  # a new one each time would cost the app much of a core
                for _ in range(1200):
                    with suppress(httpx.HTTPError):
                        if app.poll() is not None or client.get(address).is_success:
                            break
                    time.sleep(0.05)
            yield address, app.pid
        finally:
            app.terminate()
            app.wait()


def make_crops() -> list[bytes]:
    """Parts of the examples, as JPEG files."""
    chance, made = random.Random(0), []
    for i in range(CROPS):
        image = Image.open(list(EXAMPLES.values())[i % len(EXAMPLES)]).convert("RGB")
        width, height = (round(side * chance.uniform(0.5, 0.95)) for side in image.size)
        left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
        file = io.BytesIO()
        image.crop((left, top, left + width, top + height)).save(file, "JPEG", quality=90)
        made.append(file.getvalue())
    return made


def answer_alone(crops: list[bytes]) -> dict[Asked, tuple[np.ndarray, np.ndarray]]:
    """Probabilities and map of all looks that users may ask for, computed in this process, one at a time."""
    engine, found = LocalEngine(), {}
    for model in MODELS:
        looks = [(i, Request(model, target=target)) for i in range(CROPS) for target in CLASSES]
        for i, request in looks + [(i, Request(model, method)) for i in range(SLOW_CROPS) for method in SLOW]:
            answer = engine.perform(Job("look", request, (Photo("photo.jpg", crops[i]),)))
            look = answer.photos[0] if isinstance(answer, Looks) else None
            assert isinstance(look, Look) and look.map and look.probabilities is not None, look
            found[i, request] = found[i, replace(request, method="", target="")] = look.probabilities, look.map.values
    return found


def memory(process: int) -> float | None:
    """Megabytes that a process holds; None where that is not known."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), None)


def soak(minutes: int, number: int, mix: dict[str, int]) -> tuple[Visits, list[float | None]]:
    """What the users saw, and the app's memory at the end of every minute and after the last answer."""
    print("Computing the answers, one at a time.", flush=True)
    crops, sizes = make_crops(), []
    serial = answer_alone(crops)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, serve(Path(name)) as (address, process):
        visits = Visits(address, Path(name), crops, serial)
        users = [User(i, visits, mix) for i in range(number)]
        print(f"{number} users ask for {minutes} minutes.", flush=True)
        begun = time.monotonic()
        for user in users:
            user.start()
        for minute in range(1, minutes + 1):
            time.sleep(max(0.0, begun + 60 * minute - time.monotonic()))
            sizes.append(memory(process))
        visits.stop.set()
        for user in users:
            user.join(max(0.0, begun + 60 * minutes + LAST - time.monotonic()))
        visits.errors += [f"a call got no answer in {LAST:g} s" for user in users if user.is_alive()]
        sizes.append(memory(process))
        log = (Path(name) / "log").read_text()
        visits.errors += ["the app's log: " + log[log.index("Traceback") :]] if "Traceback" in log else []
    return visits, sizes


def report(visits: Visits, sizes: list[float | None]) -> bool:
    """Print the figures; gives whether all is well."""
    print("calls: " + ", ".join(f"{kind} {visits.calls[kind]}" for kind in MIX))
    for (beside, known), times in sorted(visits.quick.items()):
        p50, p95, most = 1000 * np.quantile(times or [np.nan], (0.5, 0.95, 1))
        where, which = "beside slow work" if beside else "otherwise", "known" if known else "new"
        figures = f"p50 {p50:6.0f} ms   p95 {p95:6.0f} ms   max {most:6.0f} ms"
        print(f"quick looks, {where:16} {which:5}   n {len(times):5}   {figures}")
    told = ["unknown" if size is None else f"{size:.0f}" for size in sizes]
    print(f"the app's memory in MB, minute by minute and at the end: {' '.join(told)}")
    print(f"wrong answers: {len(visits.wrong)}, errors: {len(visits.errors)}")
    for line in [*visits.wrong, *visits.errors]:
        print("    " + line)
    first, last = sizes[0], sizes[-1]
    grown = first is not None and last is not None and last > GROWTH * first
    return not (visits.wrong or visits.errors or grown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--only", choices=MIX, help="one kind of call")
    args = parser.parse_args()
    mix = {args.only: 1} if args.only else MIX
    sys.exit(0 if report(*soak(args.minutes, args.users, mix)) else 1)


if __name__ == "__main__":
    main()
