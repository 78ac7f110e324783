"""Clips per second that a phase's loader reads from shards of full-scale clips, by number of workers.

python benchmarks/loader.py [--clips 64] [--workers 0 1 2 4] [--rounds 5] [--folder FOLDER] [--parts]

Writes a throw-away shard set (about 30 MB per clip: 352x640x193@24, Wan and DAC latents, 512 rows of UMT5) with the
repository's own writer, and reads it as training does: checked, collated and sent by the workers. The arms alternate.
The files stay in the page cache, so this measures the loader itself; a disk or a network adds its own time. `--parts`
times the parts of one read instead: bytes, checksum, finite values.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import torch

from talkies.data.clip import Caption, Clip, Header, Latent
from talkies.data.module import ClipsData
from talkies.data.shards import ShardSet, ShardWriter
from talkies.data.stored import StoredTensors, checksum, finite
from talkies.streams import Grid
from talkies.streams.batch import Text

GRIDS = {
    "video": Grid(channels=16, shape=(49, 44, 80), rate=Fraction(6)),
    "audio": Grid(channels=128, shape=(403,), rate=Fraction(50)),
    "image": Grid(channels=16, shape=(49, 44, 80), rate=Fraction(6)),
}
MADE_BY = {"video": "video", "audio": "audio", "image": "video", "text": "text"}
TEXT = (512, 4096)
STEP_S, GLOBAL_BATCH, GPUS, SEQUENCE = 4.0, 128, 1024, 8
"""`talkies plan recipes/mova/joint_phase2.yaml`: every rank of a sequence group reads the group's clip."""


def write(folder: Path, clips: int, per: int) -> None:
    """Write a shard set of noise clips, every fourth with the longest caption, the others with half that length."""
    null = Text(embedding=torch.zeros(1, *TEXT), length=torch.tensor([1]))
    header = Header(
        name="bench", split="train", geometry="352x640x193@24", fps=24.0, null_texts={"text": null}, made_by=MADE_BY,
        codecs=dict.fromkeys(MADE_BY.values(), "0"), codec_configs={},
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    with ShardWriter(folder, header, per) as writer:
        for number in range(clips):
            length = TEXT[0] if number % 4 == 0 else TEXT[0] // 2
            text = Caption(caption="noise", features=torch.randn(length, TEXT[1], generator=generator))
            streams = {
                name: Latent(values=torch.randn(grid.latent_shape, generator=generator), grid=grid, valid=grid.shape[0])
                for name, grid in GRIDS.items()
            }
            writer.add(Clip(id=f"clip-{number:05d}", streams=streams, texts={"text": text}))


def clips_per_second(shards: ShardSet, workers: int, clips: int) -> float:
    """Clips per second in batches of 1, as a rank of the full-scale phases reads them, after the workers' start-up."""
    data = ClipsData(shards, seed=0, global_batch=1, workers=workers)
    loader = iter(data.train_dataloader())
    warm = 2 * max(1, workers)
    for _ in itertools.islice(loader, warm):
        pass
    began = time.perf_counter()
    for batch in itertools.islice(loader, clips):
        assert not batch.replaced
    return clips / (time.perf_counter() - began)


def parts(shards: ShardSet, rounds: int) -> None:
    """Print the times of the parts of one read, in milliseconds."""
    path = shards.folder / shards.shard_of(0)
    names = [f"00000.{name}" for name in shards.index.clips[0].checksums]
    stored = StoredTensors(path)
    tensors = [stored.read(name) for name in names]
    work: dict[str, Callable[[], object]] = {
        "bytes": lambda: [stored.read(name) for name in names],
        "checksums": lambda: [checksum(tensor) for tensor in tensors],
        "finite": lambda: [finite(tensor) for tensor in tensors],
        "a clip, checked": lambda: shards.read(0),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for _, (name, one) in itertools.product(range(5 * rounds), work.items()):
        began = time.perf_counter()
        one()
        times[name].append(time.perf_counter() - began)
    for name, seconds in times.items():
        print(f"{name:<16} {1e3 * statistics.median(seconds):6.2f} ms")


def table(shards: ShardSet, workers: list[int], rounds: int, size: float) -> None:
    """Print medians of `rounds` alternating rounds, relative to the consumption of a GPU and of a rank."""
    rates: dict[int, list[float]] = {count: [] for count in workers}
    for _, count in itertools.product(range(rounds), workers):
        rates[count].append(clips_per_second(shards, count, len(shards)))
    gpu = GLOBAL_BATCH / STEP_S / GPUS
    print(f"one GPU's share: {gpu:.4f} clips/s; a rank, which reads with {SEQUENCE - 1} others: {gpu * SEQUENCE:.2f}")
    print("workers  clips/s    MB/s  x one GPU  x a rank")
    for count, measured in rates.items():
        rate = statistics.median(measured)
        print(f"{count:>7}  {rate:7.1f}  {rate * size:6.0f}  {rate / gpu:9.0f}  {rate / gpu / SEQUENCE:8.0f}")


def main(words: Sequence[str] | None = None) -> None:
    """Write, read, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--per", type=int, default=16, help="clips per shard")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write the throw-away set (default: a temporary folder)")
    parser.add_argument("--parts", action="store_true", help="time the parts of a read")
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        write(Path(folder) / "set", args.clips, args.per)
        shards = ShardSet.open(Path(folder) / "set")  # hashes every file: all are in the page cache
        size = sum(shard.size for shard in shards.index.shards) / len(shards) / 1e6
        print(f"{len(shards)} clips of {size:.1f} MB on average, {os.cpu_count()} cores, files in the page cache")
        if args.parts:
            parts(shards, args.rounds)
        else:
            table(shards, args.workers, args.rounds, size)


if __name__ == "__main__":
    main()
