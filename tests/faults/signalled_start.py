"""Sends signals throughout the start of a process. Moments are CPU times of the process, so that they do not depend on
the load of the machine.

By hand, every 50 ms of the first 3 s: python tests/faults/signalled_start.py FOLDER train sample evaluate prepare
"""

# ruff: noqa: T201
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Signalled:
    """A process that got a signal after `at` seconds of CPU time (None: it had ended before)."""

    number: signal.Signals
    at: float | None
    code: int
    out: str
    err: str
    took: float
    used: float

    @property
    def clean(self) -> bool:
        """Whether it printed one line and ended with 130, or finished its work."""
        line = rf"talkies: (interrupted by {self.number.name}|\S+ stopped by {self.number.name} after step \d+; .*)\n"
        return (self.code == 130 and re.fullmatch(line, self.err) is not None) or (self.code == 0 and self.err == "")


def _used(pid: int) -> float:
    """CPU seconds of a process and of the children that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / TICKS


def _has_handlers(pid: int) -> bool:
    """Whether the last of our handlers is installed (Python itself catches SIGINT earlier)."""
    (mask,) = re.findall(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) >> (signal.SIGUSR1 - 1) & 1)


def signalled_process(words: Sequence[str], number: signal.Signals, at: float) -> Signalled:
    """Start a process, and send it a signal once it has its handlers and has used `at` CPU seconds."""
    own = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "WITNESSED": os.devnull}
    before_us = signal.signal(number, signal.default_int_handler)  # a background job ignores SIGINT; a child inherits
    try:
        process = subprocess.Popen(list(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=own)
    finally:
        signal.signal(number, before_us)
    with process:
        try:
            sent_at = _wait(process, at)
            before, began = 0.0 if sent_at is None else sent_at, time.monotonic()
            if sent_at is not None:
                process.send_signal(number)
            last = before
            while process.poll() is None:
                last = max(last, _used_if_there(process.pid))
                if time.monotonic() - began > 240:
                    raise TimeoutError(f"{number.name} at {at:.2f} s: it still runs")
                time.sleep(0.005)
            took = time.monotonic() - began
            out, err = process.communicate()
        finally:
            process.kill()
    return Signalled(
        number=number, at=sent_at, code=process.returncode, out=out, err=err, took=took, used=last - before
    )


def _used_if_there(pid: int) -> float:
    try:
        return _used(pid)
    except FileNotFoundError:
        return 0.0


def _wait(process: "subprocess.Popen[str]", at: float) -> float | None:
    while process.poll() is None:
        used = _used_if_there(process.pid)
        if used >= at and _has_handlers(process.pid):
            return used
        time.sleep(0.002)
    return None


def verbs(folder: Path, data: Path, run: Path) -> dict[str, list[str]]:
    """Commands that train or sample, in a folder of their own."""
    talkies = [sys.executable, "-m", "talkies.cli.main"]
    media = folder / "prepare.yaml"
    faces = {"kind": "synthetic", "clips": 24, "heldout": 8}
    codecs = {"video": {"kind": "linear_video"}, "audio": {"kind": "linear_audio"}, "text": {"kind": "bytes"}}
    sets = {"all": {"source": "faces", "geometry": "32x32x25@12.5"}}
    recipe = {"kind": "prepare", "name": "swept", "sources": {"faces": faces}, "codecs": codecs}
    media.write_text(json.dumps({**recipe, "fit_sets": ["all"], "fit_clips": 8, "sets": sets}))
    sampled = ["--prompt", "A happy man talks in a low voice.", "--steps", "4", "--out", str(folder / "sample.mp4")]
    return {
        "sample": [*talkies, "sample", str(run), *sampled],
        "evaluate": [*talkies, "evaluate", str(run), "--clips", "4", "--data", str(data)],
        "prepare": [*talkies, "prepare", str(media), "--runs", str(folder / "runs"), "--quiet"],
    }


def moments(first: float, last: float, step: float) -> Iterator[float]:
    """From `first` to `last`."""
    while first <= last:
        yield first
        first += step


def main() -> None:
    """Print a table of what each verb did."""
    from training_runs import WORDS, TrainingRun, prepared

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("verbs", nargs="+")
    parser.add_argument("--step", type=float, default=0.05)
    parser.add_argument("--first", type=float, default=0.0)
    parser.add_argument("--last", type=float, default=3.0)
    args = parser.parse_args()
    data = prepared(args.folder)
    whole = TrainingRun(runs=args.folder / "whole", data=data)
    if not whole.runs.exists():
        assert whole.attempt().code == 0
    broken = replace(whole, runs=args.folder / "swept", words={**WORDS, "steps.max": 100_000})
    broken.runs.mkdir(exist_ok=True)
    known = {**verbs(args.folder, data, whole.folder), "train": broken.command([])}
    for verb in args.verbs:
        names = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP") if verb == "train" else ("SIGTERM", "SIGINT")
        for name in names:
            found = []
            for at in moments(args.first, args.last, args.step):
                if verb == "prepare":
                    shutil.rmtree(args.folder / "runs", ignore_errors=True)
                found.append(signalled_process(known[verb], signal.Signals[name], at))
                if not found[-1].clean:
                    print(f"  {verb} {name} at {at:.2f}: {found[-1]}", flush=True)
            codes = dict(Counter(one.code for one in found))
            slow, used = max(one.took for one in found), max(one.used for one in found)
            odd = sum(not one.clean for one in found)
            print(f"{verb} {name}: {len(found)} moments, codes {codes}, {odd} odd; at most {slow:.1f} s, of which the "
                  f"process computed {used:.1f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "tests" / "cli"), str(ROOT / "src")]
    main()
