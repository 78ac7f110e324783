"""Imports that break in the middle leave nothing behind; large ones need little memory."""

import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from made_folders import VIDEO, mova_folder, tower_shapes, wan_config, wan_folder, write_json

from talkies.checkpoints.release import read_release
from talkies.config import StorageError
from talkies.models.systems import SYSTEMS
from talkies.runs.run_import import Choices, import_folder

GEOMETRY = "32x32x9@24"
MIB = 1 << 20


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """No file may be longer: writing more fails like a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # Python ignores SIGXFSZ: writing fails with EFBIG
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    folder = mova_folder(tmp_path / "mova")
    with small_files(60_000), pytest.raises(StorageError, match=r"cannot write .*release: File too large"):
        import_folder(folder, tmp_path / "release", Choices(geometry=GEOMETRY), SYSTEMS, say=lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["mova"]


def sparse_wan(folder: Path, total: int, dim: int) -> Path:
    """A Wan folder of about `total` bytes, whose weights take no space on the disk (and read as zeros)."""
    ffn, values = 4 * dim, 0
    heads = dim // 128
    tower = VIDEO.__class__(**{**_values(), "dim": dim, "ffn_dim": ffn, "heads": heads, "layers": 1})
    layer = sum(math.prod(s) for k, s in tower_shapes(tower).items() if k.startswith("blocks.0."))
    layers = max(1, math.ceil(total / 2 / 2 / layer))
    tower = VIDEO.__class__(**{**_values(), "dim": dim, "ffn_dim": ffn, "heads": heads, "layers": layers})
    for name in ("high_noise_model", "low_noise_model"):
        entries: dict[str, Any] = {}
        values = 0
        for key, shape in tower_shapes(tower).items():
            size = 2 * math.prod(shape)
            entries[key] = {"dtype": "BF16", "shape": shape, "data_offsets": [values, values + size]}
            values += size
        text = json.dumps(entries).encode()
        write_json(folder / name / "config.json", wan_config(tower))
        with (folder / name / "diffusion_pytorch_model.safetensors").open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + values)
    return folder


def _values() -> dict[str, Any]:
    return {field: getattr(VIDEO, field) for field in VIDEO.__dataclass_fields__}


def peak(folder: Path, out: Path, *options: str) -> int:
    """Bytes of memory that an import took at most, in a process of its own. (ru_maxrss would begin with that of this
    process.)"""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from talkies.models.systems import SYSTEMS\n"
        "from talkies.runs.run_import import Choices, import_folder\n"
        "choices = Choices(geometry=sys.argv[3], link='--link' in sys.argv)\n"
        "import_folder(Path(sys.argv[1]), Path(sys.argv[2]), choices, SYSTEMS)\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])\n"
    )
    words = [str(folder), str(out), GEOMETRY, *options]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1]) * 1024


@pytest.mark.slow
@pytest.mark.parametrize("link", [False, True])
def test_memory_does_not_grow_with_the_folder(tmp_path: Path, link: bool) -> None:
    """4 GiB of real reads of sparse files; copies would fill the disk of a small machine, so they are links, too."""
    options = ("--link",) if link else ()
    small = peak(sparse_wan(tmp_path / "small", 10 * MIB, 256), tmp_path / "a", *options)
    total = 4096 * MIB if link else 1024 * MIB
    folder = sparse_wan(tmp_path / "large", total, 2048)
    large = peak(folder, tmp_path / "b", *options)
    held = read_release(tmp_path / "b", verify=False)["files"]
    assert sum(entry["size"] for entry in held.values()) >= total
    largest = 2 * max(math.prod(shape) for shape in ((4 * 2048, 2048), (6 * 2048, 2048)))
    assert largest <= 64 * MIB
    assert large - small <= largest + 256 * MIB


@pytest.mark.ranks
def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    folder = sparse_wan(tmp_path / "wan", 512 * MIB, 1024)
    words = ["import", str(folder), "--out", str(tmp_path / "release"), "--geometry", GEOMETRY]
    process = subprocess.Popen(
        [sys.executable, "-m", "talkies.cli.main", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        end = time.monotonic() + 120
        while not (tmp_path / ".release.new").exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert [path.name for path in tmp_path.iterdir()] == ["wan"]


def test_links_across_file_systems_become_copies(tmp_path: Path) -> None:
    """/dev/shm is another file system than /tmp on Linux; where it is not, links are links."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    folder = wan_folder(tmp_path / "wan")
    out = shm / f"talkies-{os.getpid()}"
    said: list[str] = []
    try:
        import_folder(folder, out, Choices(geometry=GEOMETRY, link=True), SYSTEMS, say=said.append)
        read_release(out)
        assert said[-1].startswith("import:   0 files linked, ")
    finally:
        subprocess.run(["rm", "-rf", str(out)], check=True)
