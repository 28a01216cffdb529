"""How much memory this process may still use, and whether something fits into it."""

import os
import re
from pathlib import Path


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process can still use; None if the system (files under `root`) does not say.

    The least of what Linux reports, what the container allows (cgroup 1 and 2), and what a Space grants (MEMORY).
    """
    found = [1024 * int(kb) for kb in re.findall(r"MemAvailable: *(\d+) kB", read_text(root / "proc/meminfo"))]
    group = root / "sys/fs/cgroup"
    for folder, most, used in (group, "max", "current"), (group / "memory", "limit_in_bytes", "usage_in_bytes"):
        limit, usage = (read_text(folder / f"memory.{name}").strip() for name in (most, used))
        if limit.isdigit() and usage.isdigit():
            cached = re.findall(r"^(?:in)?active_file (\d+)", read_text(folder / "memory.stat"), re.MULTILINE)
            found.append(int(limit) - int(usage) + sum(map(int, cached)))  # the kernel can free cached file pages
    if granted := re.match(r"(\d+) ?([KMGT])", os.environ.get("MEMORY", "")):
        own = sum(1024 * int(kb) for kb in re.findall(r"RssAnon:\s*(\d+) kB", read_text(root / "proc/self/status")))
        found.append(int(granted[1]) * 1024 ** " KMGT".index(granted[2]) - own)
    return max(min(found), 0) if found else None


def shortage(name: str, needed: int | None, instead: str = "a smaller model") -> str | None:
    """Say in a sentence that `needed` bytes are more than this process can still use; None if they fit.

    `instead` is what to choose.
    """
    free = available_memory()
    if needed and free is not None and needed > free:
        return f"{name} needs {in_words(needed)} of memory and {in_words(free)} are free: choose {instead}."
    return None


def read_text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def in_words(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
