"""Imports that break in the middle leave nothing behind; large ones need little memory."""

import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made_folders import (
    SIZES,
    VIDEO,
    Shapes,
    mova_folder,
    tower_shapes,
    unfilled,
    wan_config,
    wan_folder,
    write_json,
)
from torch import nn
from transformers import UMT5Config, UMT5EncoderModel

from talkies.checkpoints.release import read_release
from talkies.config import StorageError
from talkies.models.systems import SYSTEMS
from talkies.models.wan.config import TowerConfig
from talkies.runs.import_choices import Choices
from talkies.runs.run_import import import_folder

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


def sparse(path: Path, shapes: Shapes) -> None:
    """A file of bf16 weights that take no space on the disk (and read as zeros)."""
    entries: dict[str, Any] = {}
    end = 0
    for key, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        entries[key] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(entries).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def wide_tower(total: int, dim: int) -> TowerConfig:
    """Two of which have about `total` bytes in bf16."""
    tower = replace(VIDEO, dim=dim, ffn_dim=4 * dim, heads=dim // 128, layers=1)
    layer = sum(math.prod(shape) for key, shape in tower_shapes(tower).items() if key.startswith("blocks.0."))
    return replace(tower, layers=max(1, math.ceil(total / 2 / 2 / layer)))


def sparse_wan(folder: Path, total: int, dim: int) -> Path:
    tower = wide_tower(total, dim)
    for name in ("high_noise_model", "low_noise_model"):
        write_json(folder / name / "config.json", wan_config(tower))
        sparse(folder / name / "diffusion_pytorch_model.safetensors", tower_shapes(tower))
    return folder


def sparse_diffusers(folder: Path, total: int, dim: int) -> Path:
    """Its tensors get other names."""
    with torch.device("meta"):
        network = unfilled(wide_tower(total, dim))
    for name in ("transformer", "transformer_2"):
        network.save_config(folder / name)
        sparse(folder / name / "diffusion_pytorch_model.safetensors", shapes_of(network))
    return folder


def shapes_of(network: nn.Module) -> Shapes:
    return {name: tuple(p.shape) for name, p in network.named_parameters()}


def sparse_text(folder: Path, layers: int) -> int:
    """A released MOVA whose text encoder has 33.6 MB a layer; returns the bytes of the encoder."""
    width = 1024
    video, audio = (replace(tower, text_dim=width) for tower in (SIZES.video, SIZES.audio))
    mova_folder(folder, sizes=replace(SIZES, video=video, audio=audio))
    config = UMT5Config(vocab_size=100, d_model=width, d_kv=64, d_ff=4 * width, num_layers=layers, num_heads=16)
    config.dtype = torch.bfloat16
    with torch.device("meta"):
        shapes = shapes_of(UMT5EncoderModel(config))
    shutil.rmtree(folder / "text_encoder")
    config.save_pretrained(folder / "text_encoder")
    sparse(folder / "text_encoder" / "model.safetensors", shapes)
    return (folder / "text_encoder" / "model.safetensors").stat().st_size


def peak(folder: Path, out: Path, *options: str) -> int:
    """Bytes of memory that an import took at most, in a process of its own. (ru_maxrss would begin with that of this
    process.)"""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from talkies.models.systems import SYSTEMS\n"
        "from talkies.runs.import_choices import Choices\n"
        "from talkies.runs.run_import import import_folder\n"
        "choices = Choices(geometry=sys.argv[3], link='--link' in sys.argv)\n"
        "import_folder(Path(sys.argv[1]), Path(sys.argv[2]), choices, SYSTEMS)\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])\n"
    )
    words = [str(folder), str(out), GEOMETRY, *options]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1]) * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that is emptied even if a test fails: its files are large."""
    yield tmp_path
    for path in tmp_path.iterdir():
        shutil.rmtree(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "total", "options"),
    [(sparse_wan, 1024, ()), (sparse_wan, 4096, ("--link",)), (sparse_diffusers, 1024, ())],
    ids=["copied", "linked", "renamed"],
)
def test_memory_does_not_grow_with_the_folder(
    disk: Path, make: Callable[[Path, int, int], Path], total: int, options: tuple[str, ...]
) -> None:
    """Real reads of sparse files; copies of 4 GiB would fill the disk of a small machine, so these are links."""
    small = peak(make(disk / "small", 10 * MIB, 256), disk / "a", *options)
    large = peak(make(disk / "large", total * MIB, 2048), disk / "b", *options)
    held = read_release(disk / "b", verify=False)["files"]
    assert sum(entry["size"] for entry in held.values()) >= total * MIB
    largest = 2 * max(math.prod(shape) for shape in ((4 * 2048, 2048), (6 * 2048, 2048)))
    assert largest <= 64 * MIB
    assert large - small <= largest + 256 * MIB


@pytest.mark.slow
def test_memory_does_not_grow_with_a_codec(disk: Path) -> None:
    """Its identity is computed from all of its tensors."""
    sparse_text(disk / "small", 1)
    assert sparse_text(disk / "large", 16) >= 512 * MIB
    small, large = (peak(disk / name, disk / f"{name}-release") for name in ("small", "large"))
    assert large - small <= 2 * 4096 * 1024 + 256 * MIB


@pytest.mark.ranks
@pytest.mark.timeout(600)
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
        _, said = process.communicate(timeout=200)
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
