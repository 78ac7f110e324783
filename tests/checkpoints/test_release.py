"""A release is whole and unchanged, or it is refused."""

import json
import multiprocessing
import os
import re
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from pydantic import Field
from safetensors import safe_open
from safetensors.torch import save_file

from talkies.checkpoints import names
from talkies.checkpoints.bases import base_folder
from talkies.checkpoints.release import (
    RELEASE,
    load_component,
    names_schema,
    open_component,
    read_release,
    release_sha256,
    write_release,
)
from talkies.checkpoints.released import RECORD, ReleaseRecord
from talkies.checkpoints.weights import read_weights
from talkies.config import CheckpointError, StorageError
from talkies.config.records import record
from talkies.files.integrity import sha256_of

INFO: dict[str, Any] = {
    "name": "joint",
    "phase": "joint",
    "step": 20,
    "weights": "ema",
    "recipe": {"seed": 0, "codecs": {"text": {"kind": "bytes"}}},
    "recipe_hash": "12" * 32,
    "commit": "abc",
    "shape": {"video": {}, "audio": {}, "bridge": {}},
    "data": {
        "shards": "faces",
        "clips": 3,
        "fingerprint": "56" * 32,
        "heldout_fingerprint": "78" * 32,
        "geometry": "64x64x25@12",
        "fps": 12.0,
        "grids": {"audio": {"channels": 8, "shape": [25], "rate": "25/2"}},
    },
    "codecs": {"audio": "91" * 32, "text": "90" * 32},
    "survival": {"skipped_steps": [], "passed_batches": []},
    "quarantined": {"clips": 0, "sha256": None},
    "parents": {
        "audio": {"spec": "a", "sha256": "34" * 32, "name": "a", "step": 1, "recipe_hash": "12" * 32, "commit": "b"}
    },
    "metrics": {"heldout/video": 0.5},
}


@pytest.fixture
def codecs(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "codecs"
    for part in ("video", "audio"):
        (folder / part).mkdir(parents=True)
        save_file({"w": torch.ones(3)}, folder / part / "model.safetensors")
        (folder / part / "config.json").write_text("{}")
    return folder


def tensors(seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "video_high": {"blocks.0.q.weight": torch.randn(4, 3, generator=generator), "b": torch.zeros(2).bfloat16()},
        "bridge": {"w": torch.randn(3, 4, generator=generator).t()},
    }


@pytest.fixture
def release(tmp_path: Path, codecs: Path) -> Path:
    write_release(tmp_path / "release", components=tensors(), info=INFO, codecs_folder=codecs)
    return tmp_path / "release"


def test_round_trip(release: Path) -> None:
    values = read_release(release)
    assert {key: values[key] for key in INFO} == INFO
    assert values["base"] is None
    assert values["adapter"] is False
    entry = values["components"]["video_high"]
    assert (entry["file"], entry["parameters"]) == ("video_high.safetensors", 14)
    assert entry["bytes"] == (release / "video_high.safetensors").stat().st_size
    assert entry["sha256"] == sha256_of(release / "video_high.safetensors")
    assert set(values["files"]) == {
        "video_high.safetensors", "bridge.safetensors", "codecs/video/model.safetensors", "codecs/video/config.json",
        "codecs/audio/model.safetensors", "codecs/audio/config.json",
    }  # fmt: skip
    for component, expected in tensors().items():
        found = load_component(release, component)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[k], v) and found[k].dtype == v.dtype for k, v in expected.items())
    assert sorted(path.name for path in release.parent.iterdir()) == ["data", "release"]


def test_names_of_an_older_schema_are_migrated(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "RENAMES", (lambda path: path.replace(".blocks.", ".layers."),))
    expected = {key.replace("blocks.", "layers."): value for key, value in tensors()["video_high"].items()}
    found = load_component(release, "video_high")
    streamed = {key: read(0, shape[0]) for key, shape, read in open_component(release, "video_high")}
    for one in (found, streamed):
        assert one.keys() == expected.keys()
        assert all(torch.equal(one[key], value) for key, value in expected.items())


@record
class Grown(ReleaseRecord):
    """Of schema 2, in which `title` is called `name`."""

    schema: Annotated[int, Field(ge=2, le=2)]


def without_title(values: dict[str, Any]) -> dict[str, Any]:
    return {"name" if key == "title" else key: value for key, value in values.items()}


@pytest.mark.parametrize("numbered", [True, False])
def test_the_record_and_the_names_have_their_own_schemas(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbered: bool
) -> None:
    """An old record is migrated, and so are the names in it, which have no number of their own at first."""
    path = release / RELEASE
    values = {"title" if key == "name" else key: value for key, value in json.loads(path.read_text()).items()}
    path.write_text(json.dumps(values if numbered else {k: v for k, v in values.items() if k != "names_schema"}))
    later = replace(RECORD, holds=Grown, migrations=(without_title,))
    monkeypatch.setattr("talkies.checkpoints.release.RECORD", later)
    monkeypatch.setattr(names, "RENAMES", (lambda path: path.replace(".blocks.", ".layers."),))
    expected = {key.replace("blocks.", "layers.") for key in tensors()["video_high"]}
    assert read_release(release)["name"] == values["title"]
    assert names_schema(release) == 1
    assert load_component(release, "video_high").keys() == expected
    write_release(tmp_path / "new", components=tensors(), info=INFO)
    written = json.loads((tmp_path / "new" / RELEASE).read_text())
    assert (written["schema"], written["names_schema"]) == (2, 2)
    assert load_component(tmp_path / "new", "video_high").keys() == tensors()["video_high"].keys(), "renamed once"


def test_names_of_a_later_schema_are_refused(release: Path) -> None:
    values = json.loads((release / RELEASE).read_text())
    (release / RELEASE).write_text(json.dumps({**values, "names_schema": 2}))
    with pytest.raises(CheckpointError, match=r"its `names_schema` is 2, and must be a schema .* reads \(1 to 1\)"):
        read_release(release)


def test_same_content_same_hash(release: Path, tmp_path: Path, codecs: Path) -> None:
    write_release(tmp_path / "again", components=tensors(), info=INFO, codecs_folder=codecs)
    write_release(tmp_path / "other", components=tensors(1), info=INFO, codecs_folder=codecs)
    write_release(tmp_path / "named", components=tensors(), info={**INFO, "step": 21}, codecs_folder=codecs)
    one, two, other, named = (release_sha256(tmp_path / n) for n in ("release", "again", "other", "named"))
    assert one == two == sha256_of(release / RELEASE)
    assert len({one, other, named}) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bridge.safetensors", r"damaged: its `components\.bridge\.file` is 'bridge.safetensors', which its `files`"),
        ("codecs/audio/model.safetensors", r"does not list codecs/audio/model\.safetensors"),
    ],
)
def test_every_file_must_be_listed(release: Path, name: str, message: str) -> None:
    values = json.loads((release / RELEASE).read_text())
    del values["files"][name]
    (release / RELEASE).write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=rf"release\.json (is )?{message}"):
        read_release(release)


def left_out(components: dict[str, Any]) -> None:
    """A later phase would start it from random weights."""
    del components["bridge"]


def exchanged(components: dict[str, Any]) -> None:
    """The shapes would not reveal it: two towers have the same."""
    one, other = components["bridge"], components["video_high"]
    one["file"], other["file"] = other["file"], one["file"]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (left_out, r"its `files` list bridge\.safetensors, which belongs to none of its `components`"),
        (exchanged, r"its `components\.\w+\.file` is '\w+\.safetensors', and must be \w+\.safetensors"),
    ],
)
def test_each_component_has_its_own_file(release: Path, harm: Callable[[dict[str, Any]], None], message: str) -> None:
    values = json.loads((release / RELEASE).read_text())
    harm(values["components"])
    (release / RELEASE).write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=rf"release\.json is damaged: {message}"):
        read_release(release)


def test_an_adapter_that_is_not_listed_is_refused(tmp_path: Path, release: Path) -> None:
    base = {"sha256": release_sha256(release), "path": str(release), "name": "joint"}
    write_release(tmp_path / "lora", components={}, info=INFO, adapter=({"w": torch.ones(1)}, "{}"), base=base)
    values = json.loads((tmp_path / "lora" / RELEASE).read_text())
    (tmp_path / "lora" / RELEASE).write_text(json.dumps({**values, "files": {}}))
    with pytest.raises(CheckpointError, match="its `files` do not list adapter/adapter_model"):
        read_release(tmp_path / "lora")


def test_adapter_in_peft_files(tmp_path: Path, release: Path) -> None:
    weights = {"base_model.model.q.lora_A.weight": torch.ones(2, 4)}
    base = {"sha256": release_sha256(release), "path": str(release), "name": "joint"}
    adapter = (weights, '{"r": 2}')
    write_release(tmp_path / "lora", components={}, info=INFO, codecs_folder=None, adapter=adapter, base=base)
    values = read_release(tmp_path / "lora")
    assert values["base"] == {key: base[key] for key in ("sha256", "name")}, "a path is excluded"
    assert base_folder(tmp_path / "lora", values["base"]) == release.resolve()
    assert values["adapter"] is True
    assert values["components"] == {}
    found = read_weights(tmp_path / "lora" / "adapter" / "adapter_model.safetensors")
    assert torch.equal(found["base_model.model.q.lora_A.weight"], torch.ones(2, 4))
    with safe_open(tmp_path / "lora" / "adapter" / "adapter_model.safetensors", framework="pt") as handle:
        assert handle.metadata() == {"format": "pt"}
    assert json.loads((tmp_path / "lora" / "adapter" / "adapter_config.json").read_text()) == {"r": 2}
    with pytest.raises(CheckpointError, match="has no bridge, only none"):
        load_component(tmp_path / "lora", "bridge")


def test_pretrained_codecs_leave_no_folder(tmp_path: Path) -> None:
    write_release(tmp_path / "r", components=tensors(), info=INFO, codecs_folder=tmp_path / "nothing")
    assert not (tmp_path / "r" / "codecs").exists()
    assert read_release(tmp_path / "r")["name"] == "joint"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["bridge.safetensors", "codecs/audio/model.safetensors", "codecs/video/config.json"])
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (flip, "is damaged: found sha256"),
        (lambda path: os.truncate(path, path.stat().st_size - 1), "is truncated: found"),
        (Path.unlink, "is missing"),
    ],
)
def test_changed_file_is_named(release: Path, name: str, harm: Callable[[Path], None], message: str) -> None:
    harm(release / name)
    with pytest.raises(CheckpointError, match=f"release/{name} {message}"):
        read_release(release)
    if name == "bridge.safetensors":
        with pytest.raises(CheckpointError, match=f"release/{name} {message}"):
            load_component(release, "bridge")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(schema=9), "has schema 9, this version reads 1"),
        (lambda v: v.pop("components"), "is damaged: it has no `components`"),
        (lambda v: v.pop("files"), "is damaged: it has no `files`"),
        (lambda v: v["files"].update({"../x": {"sha256": "0" * 64, "size": 0}}), "names a file outside"),
        (lambda v: v["files"].update({"/etc/passwd": {"sha256": "0" * 64, "size": 0}}), "names a file outside"),
    ],
)
@pytest.mark.fault("s8", "names that lead outside", injected="../x and /etc/passwd in a release")
def test_bad_release_json(
    release: Path, change: Callable[[dict[str, Any]], Any], message: str, record_outcome: Callable[..., None]
) -> None:
    values = json.loads((release / RELEASE).read_text())
    change(values)
    (release / RELEASE).write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=message):
        read_release(release)
    record_outcome("refused")


def test_component_from_an_unlisted_file_is_refused(release: Path) -> None:
    save_file({"w": torch.zeros(1)}, release / "extra.safetensors")
    values = json.loads((release / RELEASE).read_text())
    values["components"]["bridge"]["file"] = "extra.safetensors"
    (release / RELEASE).write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"is .extra\.safetensors., and must be bridge\.safetensors"):
        load_component(release, "bridge")


def test_a_folder_without_release_json_is_refused(tmp_path: Path) -> None:
    for read in (read_release, release_sha256):
        with pytest.raises(CheckpointError, match=r"is not a release: it has no release\.json"):
            read(tmp_path)


def test_pickles_are_refused(release: Path, codecs: Path, tmp_path: Path) -> None:
    (codecs / "video" / "weights.pt").write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match=r"refusing .*weights\.pt: a \.pt file is a pickle"):
        write_release(tmp_path / "new", components=tensors(), info=INFO, codecs_folder=codecs)
    assert not list(tmp_path.glob("new*"))
    (release / "optimizer.BIN").write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match=r"refusing .*optimizer\.BIN"):
        read_release(release)


def test_an_older_release_is_replaced_whole(release: Path, codecs: Path) -> None:
    before = release_sha256(release)
    write_release(release, components={"audio": {"w": torch.ones(1)}}, info=INFO, codecs_folder=codecs)
    assert sorted(path.name for path in release.iterdir()) == ["audio.safetensors", "codecs", RELEASE]
    assert release_sha256(release) != before
    assert list(read_release(release)["components"]) == ["audio"]
    assert sorted(path.name for path in release.parent.iterdir()) == ["data", "release"]


def test_a_failed_write_keeps_the_older_release(release: Path, codecs: Path) -> None:
    before = release_sha256(release)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_release(
            release, components=tensors(1), info={**INFO, "metrics": {"x": float("nan")}}, codecs_folder=codecs
        )
    assert release_sha256(release) == before
    assert read_release(release)["step"] == 20
    assert sorted(path.name for path in release.parent.iterdir()) == ["data", "release"]


def test_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    with pytest.raises(CheckpointError, match="exists and is not a release"):
        write_release(tmp_path / "thesis", components=tensors(), info=INFO)
    assert (tmp_path / "thesis").is_dir()


def test_full_disk_is_a_storage_error(tmp_path: Path, release: Path) -> None:
    before = release_sha256(release)
    context = multiprocessing.get_context("fork")
    messages = context.SimpleQueue()

    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        try:
            write_release(release, components={"audio": {"w": torch.zeros(1000)}}, info=INFO)
        except StorageError as error:
            messages.put(str(error))

    child = context.Process(target=write)
    child.start()
    child.join(200)
    assert child.exitcode == 0
    assert not messages.empty()
    assert re.search(r"audio\.safetensors: File too large; 4000 bytes are needed", messages.get())
    assert release_sha256(release) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "release"]


@pytest.mark.parametrize("key", [key for key in INFO if key != "metrics"])
def test_a_missing_key_of_release_json_is_named(release: Path, key: str) -> None:
    values = json.loads((release / RELEASE).read_text())
    del values[key]
    (release / RELEASE).write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=rf"release\.json is damaged: it has no `{key}`"):
        read_release(release)
