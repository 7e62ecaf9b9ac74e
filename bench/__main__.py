"""Measure and write the page: ``python -m bench [NAME ...] [--quick] [--out FOLDER] [--list]``."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import bench
from bench.measure import Skipped
from bench.page import save


def topics() -> dict[str, str]:
    """Every module here that has a ``run``, and what its first line says it measures."""
    found = {}
    for module in pkgutil.iter_modules(bench.__path__):
        if module.name != "__main__":
            loaded = importlib.import_module(f"bench.{module.name}")
            if hasattr(loaded, "run"):
                found[module.name] = (loaded.__doc__ or "").splitlines()[0]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure some topics, or all; returns how many failed."""
    parser = argparse.ArgumentParser("python -m bench", description=bench.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="topics; all if none is named")
    parser.add_argument("--quick", action="store_true", help="only see that it works")
    parser.add_argument("--out", type=Path, help="default docs, or runs/bench if quick")
    parser.add_argument("--list", action="store_true", help="name the topics")
    options = parser.parse_args(arguments)
    known = topics()
    if options.list:
        for name, about in known.items():
            print(f"{name:14} {about}")
        return 0
    if unknown := set(options.names) - set(known):
        parser.error(f"no topic {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    names = options.names or list(known)
    out = options.out or Path("runs/bench" if options.quick else "docs")
    quick = ["--quick"] if options.quick else []
    if len(names) > 1:  # each in a process of its own: memory, threads and crashes stay there
        words = [sys.executable, "-m", "bench", *quick, "--out", str(out)]
        failed = [name for name in names if subprocess.run([*words, name]).returncode]
        if failed:
            print(f"failed: {', '.join(failed)}", file=sys.stderr)
        return len(failed)
    (name,) = names
    print(f"{name}: {known[name]}", flush=True)
    try:
        page = importlib.import_module(f"bench.{name}").run(options.quick)
    except Skipped as reason:  # what was measured elsewhere stays in the page
        print(f"{name}: skipped: {reason}", file=sys.stderr)
        return 0
    except Exception:
        traceback.print_exc()
        return 1
    save(name, page, out, " ".join(["python -m bench", name, *quick]))
    print(f"{name}: {out / 'benchmarks.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
