"""Speed of `talkies import` against `cp` of the same folder, back to back, and the memory of the process.

python benchmarks/import_speed.py [--folder /tmp/import_speed] [--gib 2] [--times 3]

The weights are random, so that no file system stores them in less. `cp`: to the page cache; `cp, synced`: until the
bytes are on the disk, as an import leaves them.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from talkies.config.canonical import to_dict
from talkies.models.build import build
from talkies.models.mova.config import EXPERTS, PRESETS, MovaConfig, MovaShape
from talkies.models.mova.layouts import LAYOUTS
from talkies.models.mova.system import MOVA
from talkies.models.wan.config import TowerConfig

DIM = 2048
IMPORT = """
import sys
from pathlib import Path
from talkies.models.systems import SYSTEMS
from talkies.runs.import_choices import Choices
from talkies.runs.run_import import import_folder
import time
begin = time.monotonic()
import_folder(Path(sys.argv[1]), Path(sys.argv[2]), Choices(geometry="352x640x193@24"), SYSTEMS, say=lambda _: None)
print(time.monotonic() - begin)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def made(folder: Path, gib: float) -> None:
    """Two experts in Wan's names with `gib` GiB of random bf16 values, in shards of about 1 GiB."""
    full = PRESETS["a14b"]
    per_layer = 2 * (8 * DIM * DIM + 2 * DIM * 4 * DIM)
    layers = max(1, round(gib * 2**30 / 2 / per_layer))
    tower = TowerConfig(**{**_values(full.video), "dim": DIM, "ffn_dim": 4 * DIM, "heads": 16, "layers": layers})
    model = MovaConfig(sizes=MovaShape(video=tower, audio=full.audio, bridge=full.bridge))
    layout = LAYOUTS["wan"]
    network = build(MOVA, _Setup(model), EXPERTS, seed=None)
    for component in EXPERTS:
        shapes = {name: tuple(p.shape) for name, p in network.get_submodule(component).named_parameters()}
        held = layout.components[component]
        (folder / held.folder).mkdir(parents=True)
        (folder / held.folder / "config.json").write_text(json.dumps(layout.config(component, model)))
        _write(folder / held.folder, held.stem, shapes)


@dataclass(frozen=True)
class _Setup:
    """As much of a recipe as the network needs."""

    model: MovaConfig
    phase: None = None
    codecs: dict[str, Any] = field(default_factory=dict)


def _values(tower: TowerConfig) -> dict[str, Any]:
    values: dict[str, Any] = to_dict(tower)
    return {**values, "patch": tuple(values["patch"])}


def _write(folder: Path, stem: str, shapes: dict[str, tuple[int, ...]]) -> None:
    parts: list[dict[str, tuple[int, ...]]] = [{}]
    for name, shape in shapes.items():
        if parts[-1] and sum(2 * math.prod(one) for one in parts[-1].values()) > 2**30:
            parts.append({})
        parts[-1][name] = shape
    weight_map = {}
    for number, part in enumerate(parts, 1):
        file = f"{stem}-{number:05}-of-{len(parts):05}.safetensors"
        weight_map |= dict.fromkeys(part, file)
        entries, end = {}, 0
        for name, shape in part.items():
            begin, end = end, end + 2 * math.prod(shape)
            entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
        text = json.dumps(entries).encode()
        with (folder / file).open("wb") as handle:
            handle.write(len(text).to_bytes(8, "little") + text)
            while end > 0:
                # Without the highest bit of the exponent all values are finite.
                values = np.frombuffer(os.urandom(min(end, 1 << 24)), "<u2") & 0xBFFF
                end -= handle.write(values.tobytes())
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def timed(action: Callable[[], object]) -> float:
    begin = time.monotonic()
    action()
    return time.monotonic() - begin


def imported(source: Path, out: Path) -> tuple[float, float]:
    """Seconds of the import without the start of Python, and its memory in MiB."""
    words = [sys.executable, "-c", IMPORT, str(source), str(out)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    seconds, peak = done.stdout.splitlines()[-2:]
    return float(seconds), int(peak) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/import_speed"))
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--times", type=int, default=3)
    args = parser.parse_args()
    args.folder.mkdir(parents=True)
    source, target = args.folder / "source", args.folder / "target"
    found: dict[str, list[float]] = {"cp": [], "cp, synced": [], "import": []}
    try:
        made(source, args.gib)
        size = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
        for _ in range(args.times):
            for name, rest in (("cp", []), ("cp, synced", ["&&", "sync", "-f", str(target)])):
                line = " ".join(["cp", "-r", str(source), str(target), *rest])
                found[name].append(timed(lambda line=line: subprocess.run(line, shell=True, check=True)))  # type: ignore[misc]
                shutil.rmtree(target)
                os.sync()
            seconds, peak = imported(source, target)
            found["import"].append(seconds)
            shutil.rmtree(target)
            os.sync()
        print(f"{size / 2**30:.2f} GiB, median of {args.times}; memory of the import {peak:.0f} MiB")
        for name, values in found.items():
            middle = median(values)
            ratio = middle / median(found["import"])
            print(
                f"{name:>10}: {middle:6.2f} s, {size / 2**20 / middle:7.0f} MiB/s, import at {ratio:.2f} of its speed"
            )
    finally:
        shutil.rmtree(args.folder)


if __name__ == "__main__":
    main()
