"""A set is read back bitwise, and damage is named."""

import json
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from talkies.config import DataError
from talkies.data.clip import Clip, Header
from talkies.data.index import INDEX
from talkies.data.shards import ShardSet, ShardWriter
from talkies.data.verify import CACHE


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def assert_same(a: Clip, b: Clip) -> None:
    assert a.id == b.id
    assert (a.streams.keys(), a.texts.keys()) == (b.streams.keys(), b.texts.keys())
    for name, text in a.texts.items():
        assert text.caption == b.texts[name].caption
    for name, latent in a.streams.items():
        assert (latent.grid, latent.valid) == (b.streams[name].grid, b.streams[name].valid)
    pairs = [(latent.values, b.streams[name].values) for name, latent in a.streams.items()]
    for one, other in (*pairs, *((text.features, b.texts[name].features) for name, text in a.texts.items())):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert bits(one) == bits(other)


def test_clips_come_back_bitwise(shards: ShardSet, make_clip: Callable[..., Clip], header: Header) -> None:
    assert len(shards) == 10
    assert shards.ids == [f"clip-{i}" for i in range(10)]
    for i in range(10):
        assert_same(shards.read(i), make_clip(i))
    assert torch.equal(shards.null_texts["text"].embedding, header.null_texts["text"].embedding)
    assert shards.null_texts["text"].length.tolist() == [0]
    assert (shards.fps, shards.seconds) == (24.0, 25 / 24)
    assert replace(shards.header, null_texts=header.null_texts) == header
    assert [entry.clips for entry in shards.index.shards] == [4, 4, 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtype_is_kept(tmp_path: Path, make_clip: Callable[..., Clip], header: Header, dtype: torch.dtype) -> None:
    with ShardWriter(tmp_path / "s", header, 4) as writer:
        writer.add(make_clip(1, dtype=dtype))
    found = ShardSet.open(tmp_path / "s").read(0)
    assert found.streams["video"].values.dtype == dtype
    assert_same(found, make_clip(1, dtype=dtype))


def test_only_the_wanted_streams_are_read(shards: ShardSet) -> None:
    assert shards.read(3, ["audio"]).streams.keys() == {"audio"}
    assert shards.read(3, ["image", "video"]).streams.keys() == {"video", "image"}
    assert shards.read(3, []).streams.keys() == set()
    assert shards.read(3).streams.keys() == shards.grids.keys() == {"video", "audio", "image"}


def test_shard_keys_are_documented_ones(build: Callable[..., Path]) -> None:
    with safe_open(build() / "shard-00001.safetensors", framework="pt") as handle:
        assert "00003.latent.video" in handle.keys()  # noqa: SIM118
        assert handle.get_tensor("00003.text.text").shape == (7 % 5, 8)


def test_same_clips_same_fingerprint(build: Callable[..., Path]) -> None:
    one, two, other = (ShardSet.open(build(n, name=name)) for n, name in ((6, "a"), (6, "b"), (7, "c")))
    assert one.fingerprint == two.fingerprint != other.fingerprint


def flip(path: Path, offset: int = -3) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_flipped_byte_is_named(build: Callable[..., Path]) -> None:
    folder = build()
    ShardSet.open(folder)
    flip(folder / "shard-00001.safetensors")
    with pytest.raises(DataError, match=r"shard-00001\.safetensors is damaged: found sha256 \w{16}, expected \w{16}"):
        ShardSet.open(folder)


def test_truncation_is_named_with_sizes(build: Callable[..., Path]) -> None:
    folder = build()
    path = folder / "shard-00002.safetensors"
    size = path.stat().st_size
    os.truncate(path, size // 2)
    with pytest.raises(
        DataError, match=rf"shard-00002\.safetensors is truncated: found {size // 2} bytes, expected {size}"
    ):
        ShardSet.open(folder)


def test_missing_shard_is_named(build: Callable[..., Path]) -> None:
    folder = build()
    (folder / "shard-00000.safetensors").unlink()
    with pytest.raises(DataError, match=r"shard-00000\.safetensors is missing"):
        ShardSet.open(folder)


def test_damaged_header_without_verification_is_a_data_error(build: Callable[..., Path]) -> None:
    folder = build()
    flip(folder / "shard-00000.safetensors", 6)  # the header's length: now absurd
    shards = ShardSet.open(folder, verify=False)
    with pytest.raises(DataError, match=r"cannot read .*shard-00000.*: its header cannot be \d+ bytes long"):
        shards.read(0)


def test_verification_is_remembered_until_a_file_changes(
    build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build()
    with monkeypatch.context() as patch:
        patch.setattr("talkies.files.integrity._SETTLED_NS", 10**12)  # as if the machine were quick
        ShardSet.open(folder)
    assert not (folder / CACHE).exists()  # the files are too recent for their time stamps to reveal a change
    for path in folder.glob("*.safetensors"):
        old = time.time() - 100
        os.utime(path, (old, old))
    time.sleep(2.1)  # the change time cannot be set
    ShardSet.open(folder)
    known = json.loads((folder / CACHE).read_text())
    assert set(known) == {path.name for path in folder.glob("*.safetensors")}
    flip(folder / "shard-00001.safetensors")
    os.utime(folder / "shard-00001.safetensors", (old, old))  # same size, same mtime: only the ctime reveals the change
    with pytest.raises(DataError, match="shard-00001"):
        ShardSet.open(folder)


def test_missing_index_and_folder(build: Callable[..., Path], tmp_path: Path) -> None:
    folder = build()
    (folder / INDEX).unlink()
    with pytest.raises(DataError, match="holds no complete shard set"):
        ShardSet.open(folder)
    with pytest.raises(DataError, match="holds no complete shard set"):
        ShardSet.open(tmp_path / "nowhere")


def edit(folder: Path, change: Callable[[dict], None]) -> None:
    values = json.loads((folder / INDEX).read_text())
    change(values)
    (folder / INDEX).write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(schema=1), "has schema 1, this version reads 2 to 3"),
        (lambda v: v.update(clips=[], shards=[]), "is empty"),
        (lambda v: v["clips"].pop(), "lists 9 clips, but its shards hold 10"),
        (lambda v: v["shards"][0].update(name="../../etc/passwd"), "outside its folder"),
        (lambda v: v["clips"][1].update(id="clip-0"), "'clip-0' appears twice"),
        (lambda v: v.pop("streams"), "is damaged: it has no `streams`"),
        (
            lambda v: v["clips"][3]["checksums"].pop("latent.image"),
            "clip 'clip-3' has checksums of .*, but must have those",
        ),
        (lambda v: v["header"].update(geometry="big"), "geometry 'big'"),
        (lambda v: v["header"].update(fps=25.0), "has `fps` 25.0, but 24 in its geometry '16x16x25@24'"),
        (lambda v: v["clips"][3]["valid"].update(audio=0), "`valid.audio` of clip 'clip-3' is 0, and must be 1 to 7"),
        (lambda v: v["clips"][3]["valid"].update(video=2**60), "`valid.video` of clip 'clip-3' is .*, and must be 1"),
        (lambda v: v["clips"][3]["valid"].update(depth=1), "`valid.depth` of clip 'clip-3' is 1, .* that of a stream"),
        (lambda v: v["clips"][3]["lengths"].update(text=7), "a `lengths.text`, .* is 7, but texts .* have at most 6"),
        (lambda v: v["clips"][3]["lengths"].clear(), r"clip 'clip-3' has lengths of \[\], but must have those of"),
        (lambda v: v["clips"][3]["captions"].update(song=""), "clip 'clip-3' has captions of .*'song'.*, but must"),
        (lambda v: v["texts"]["text"].update(length=2**60), "`texts.text.length`, is .*, but texts .* have at most 6"),
        (lambda v: v["texts"]["text"].update(codec="song"), "its `header.codecs` lack song"),
        (lambda v: v["streams"].update(text=v["streams"]["image"]), "it names both a stream and a text 'text'"),
    ],
)
@pytest.mark.fault("s8", "names that lead outside", injected="../../etc/passwd in an index of shards")
def test_bad_index(
    build: Callable[..., Path], change: Callable[[dict], None], message: str, record_outcome: Callable[..., None]
) -> None:
    folder = build()
    edit(folder, change)
    with pytest.raises(DataError, match=message):
        ShardSet.open(folder)
    record_outcome("refused")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda v: v["streams"]["audio"].update(channels=2**60),
            "`streams.audio` says .*, but latent.audio of",
        ),
        (
            lambda v: v["streams"]["video"]["shape"].__setitem__(0, 2**60),
            "`streams.video` says .*, but latent.video of",
        ),
        (
            lambda v: v["clips"][3]["lengths"].update(text=1),
            "`lengths.text` says 1, but text.text of clip 'clip-3' has 3",
        ),
    ],
)
def test_an_index_that_contradicts_the_size_of_a_tensor_is_damaged(
    build: Callable[..., Path], change: Callable[[dict], None], message: str
) -> None:
    folder = build()
    edit(folder, change)
    with pytest.raises(DataError, match=rf"index\.json is damaged: its {message}"):
        ShardSet.open(folder).read(3)


def test_index_that_is_no_json(build: Callable[..., Path]) -> None:
    folder = build()
    (folder / INDEX).write_bytes(b"\xff{")
    with pytest.raises(DataError, match="is damaged"):
        ShardSet.open(folder)


def test_check_names_what_differs(shards: ShardSet) -> None:
    identities = dict(shards.header.codecs)
    shards.check(identities, "16x16x25@24", ["video", "audio"])
    with pytest.raises(DataError, match=r"audio codec bbbbbbbbbbbbbbbb \(linear_audio\), the recipe expects dddddddd"):
        shards.check({**identities, "audio": "dd" * 32}, "16x16x25@24", ["video"])
    with pytest.raises(DataError, match="has geometry 16x16x25@24, the recipe expects 32x32x25@24"):
        shards.check(identities, "32x32x25@24", ["video"])


def test_check_names_a_missing_stream(
    tmp_path: Path, make_clip: Callable[..., Clip], make_header: Callable[..., Header]
) -> None:
    clip = make_clip(0)
    with ShardWriter(tmp_path / "s", make_header("audio"), 4) as writer:
        writer.add(make_clip(0, grids={"audio": clip.streams["audio"].grid}))
    shards = ShardSet.open(tmp_path / "s")
    assert shards.read(0).streams.keys() == {"audio"}
    with pytest.raises(DataError, match="holds no video, only audio"):
        shards.check({}, "16x16x25@24", ["audio", "video"])


def _read_in_child(shards: ShardSet, queue: "multiprocessing.Queue[bytes]") -> None:
    queue.put(bits(shards.read(5).streams["video"].values))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_reads_in_a_child_process(shards: ShardSet, make_clip: Callable[..., Clip], method: str) -> None:
    shards.read(5)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=_read_in_child, args=(shards, queue))
    child.start()
    assert queue.get(timeout=200) == bits(make_clip(5).streams["video"].values)
    child.join()


def test_pickle_carries_no_open_file(shards: ShardSet, make_clip: Callable[..., Clip]) -> None:
    shards.read(0)
    copy = pickle.loads(pickle.dumps(shards))
    assert copy._handles == {}
    assert_same(copy.read(9), make_clip(9))


def test_a_file_that_is_cut_short_while_it_is_open_is_a_data_error(build: Callable[..., Path]) -> None:
    """A memory-mapped file would raise SIGBUS, which kills the process."""
    folder = build()
    shards = ShardSet.open(folder)
    shards.read(3)
    os.truncate(folder / "shard-00000.safetensors", 1500)
    with pytest.raises(DataError, match=r"cannot read 00003\.latent\.\w+ from .*shard-00000.* truncated, \d+ bytes"):
        shards.read(3)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_few_files_stay_open(build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("talkies.data.shards.OPEN_FILES", 3)
    shards = ShardSet.open(build(12, 1))
    before = open_files()
    for i in [*range(12), 0, 5, 11]:
        assert shards.read(i).id == f"clip-{i}"
        assert open_files() <= before + 3
