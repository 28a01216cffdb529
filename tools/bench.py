"""Time the zoo against timm and other runtimes in one process, in interleaved rounds.

    python -m tools.bench                 zoo and timm, the architectures named in the goldens, then the price of maps
    python -m tools.bench resnet50 ...    zoo and timm, these architectures
    python -m tools.bench maps            the price of maps, in forwards of the same model
    python -m tools.bench paths [...]     every path to a forward pass: machine.csv, forward.csv, forward.svg
    python -m tools.bench load [...]      time and memory of loading a file: load.csv
    python -m tools.bench plot            forward.svg and the means again, from forward.csv

Batch 1, this machine's default threads. Ratios are comparable across machines of one kind; milliseconds are not.
`paths` and `load` write their rows as soon as they have them, in assets/bench; a second run skips what is there.
"""

import argparse
import gc
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

import zoo
from tools import bench_load, bench_maps, bench_paths, bench_table, golden_file, roofline
from tools.bench_table import Load, Row
from tools.oracle import build
from tools.roofline import Roofline
from tools.rounds import interleave

FORWARD = (
    *("resnet50", "seresnet50", "mobilenetv2_100", "tf_efficientnet_lite0", "convnext_tiny", "fastvit_t8"),
    *("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224", "swin_tiny_patch4_window7_224"),
    *("beit_base_patch16_224", "mixer_b16_224"),
)
LOAD = "vit_base_patch16_224", "convnext_base"


def ratios(args: argparse.Namespace) -> None:
    """Compare the zoo with timm, as the author of a family does; a ratio under 1 means that the zoo is faster."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch 1, fp32, medians of interleaved rounds")
    for name in args.names or named_by_goldens():
        compare_forward(name, args.seconds)
    if not args.names:
        maps(args)


def compare_forward(name: str, seconds: float) -> None:
    theirs = build(name)
    ours = zoo.create_from(name, theirs.state_dict())
    x = torch.randn(1, *theirs.pretrained_cfg["input_size"])
    with torch.inference_mode():
        mine, reference = map(statistics.median, interleave([lambda: ours(x), lambda: theirs(x)], seconds))
    print(f"{name:40} zoo {mine:8.1f} ms   timm {reference:8.1f} ms   ratio {mine / reference:.3f}", flush=True)


def named_by_goldens() -> list[str]:
    """The architectures that the goldens' headers list under `bench`."""
    return [name for family in golden_file.families() for name in golden_file.read(family).bench]


def maps(args: argparse.Namespace) -> None:
    bench_maps.price(args.seconds)


def paths(args: argparse.Namespace) -> None:
    """Fill the table of paths, one architecture at a time, then draw it."""
    chosen = [path for path in bench_paths.PATHS if path in {*args.paths, bench_paths.TRUTH, bench_paths.BASE}]
    roof = rates(args.out, anew=args.again and not args.names)
    file = args.out / "forward.csv"
    with tempfile.TemporaryDirectory() as folder:
        for name in unmeasured(file, Row, args.names or FORWARD, chosen, args.again):
            exports = Path(folder) if bench_paths.FROM_EXPORT & set(chosen) else None
            rows = bench_paths.compare(bench_paths.Subject(name, exports), chosen, roof, args.seconds, args.least)
            bench_table.replace(file, rows)
            for row in rows:
                print(in_words(row), flush=True)
            gc.collect()  # compiled models hold themselves in circles
    plot(args)


def load(args: argparse.Namespace) -> None:
    rates(args.out)
    file = args.out / "load.csv"
    for name in unmeasured(file, Load, args.names or LOAD, bench_load.SIDES, args.again):
        bench_table.replace(file, list(bench_load.compare(name, args.runs)))
    print(file.read_text())


def unmeasured(
    file: Path, kind: type[Row] | type[Load], names: Sequence[str], paths: Sequence[str], again: bool
) -> list[str]:
    """Which of the architectures a file lacks; all of them if they are to be measured again."""
    unknown = set(names) - set(zoo.names())
    if unknown:
        raise SystemExit(f"There is no architecture {', '.join(sorted(unknown))}: zoo.names() lists them.")
    return list(names) if again else bench_table.missing(bench_table.read(file, kind), names, paths)


def rates(out: Path, anew: bool = False) -> Roofline:
    """The machine's rates: those kept beside the tables, or measured now. Exits if the tables are another machine's."""
    file = out / "machine.csv"
    here, there = bench_table.machine(), bench_table.read_machine(file)
    differ = there is not None and there[0] != here
    if differ and not anew:
        raise SystemExit(f"{file} is not of this machine, {here}: `paths --again` replaces it, --out keeps it.")
    if there is None or anew:
        print("machine: its rates ...", flush=True)
        (out / "forward.csv").unlink(missing_ok=True)
        if differ:
            (out / "load.csv").unlink(missing_ok=True)
        bench_table.write_machine(file, here, roofline.measure())
    print(file.read_text(), flush=True)
    kept = bench_table.read_machine(file)
    assert kept is not None
    return kept[1]


def in_words(row: Row) -> str:
    if row.median_ms is None:
        return f"    {row.path:20} {row.note}"
    return (
        f"    {row.path:20} {row.median_ms:7.1f} ms, p90 {row.p90_ms:7.1f}, n {row.n:<4} speed {row.speed:5.2f}, "
        f"{row.share:4.0%} of the roofline, change {row.difference:.1e} of {row.largest:.1e}; {row.note}"
    )


def plot(args: argparse.Namespace) -> None:
    """Draw the table of paths, and print the geometric mean of each path's speed."""
    from tools import bench_plot  # its matplotlib would take memory and time while others are measured

    rows = bench_table.read(args.out / "forward.csv", Row)
    if not rows:
        raise SystemExit(f"{args.out} has no forward.csv yet: `python -m tools.bench paths` measures it.")
    facts = bench_table.machine() if (kept := bench_table.read_machine(args.out / "machine.csv")) is None else kept[0]
    title = f"{facts['cpu']}, threads: {facts['threads']}, torch {facts['torch']}, batch 1"
    bench_plot.plot(rows, title, args.out / "forward.svg")
    for path, (mean, count) in bench_table.means(rows).items():
        print(f"{path:20} {mean:5.2f} x {bench_paths.BASE}, geometric mean of {count}")


COMMANDS = {"maps": maps, "paths": paths, "load": load, "plot": plot}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="what", help="a command, architectures, or both in this order")
    parser.add_argument("--seconds", type=float, default=20, help="for each comparison (20)")
    parser.add_argument("--least", type=int, default=40, help="calls of each path, at least (40)")
    parser.add_argument("--runs", type=int, default=11, help="processes that load a file, of each side (11)")
    parser.add_argument("--paths", nargs="+", choices=bench_paths.PATHS, default=list(bench_paths.PATHS))
    parser.add_argument("--threads", type=int, help="instead of PyTorch's default")
    parser.add_argument("--again", action="store_true", help="measure what the tables have already")
    parser.add_argument("--out", type=Path, default=Path("assets/bench"), help="folder of the tables (assets/bench)")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    command = COMMANDS.get(args.words[0]) if args.words else None
    args.names = args.words[1:] if command else args.words
    (command or ratios)(args)


if __name__ == "__main__":
    main()
