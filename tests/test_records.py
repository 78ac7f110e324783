"""Every kind of record, mutated key by key, is read if it is valid, else refused with its file and key."""

import ast
import importlib
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from talkies.config import DataError, UserError
from talkies.config.records import Kind, record

ROOT = Path(__file__).parent.parent / "src" / "talkies"
SHA = "0123456789abcdef" * 4


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A record as it is written. `optional`: keys that an earlier version did not write; `nullable`: keys that may be
    null; `free`: key paths below which any value is accepted, because it is only compared or passed on."""

    values: Any
    optional: frozenset[str] = field(default=frozenset())
    nullable: frozenset[str] = field(default=frozenset())
    free: tuple[str, ...] = ()


def sample(values: Any, *, optional: str = "", nullable: str = "", free: str = "") -> Sample:
    return Sample(
        values=values,
        optional=frozenset(optional.split()),
        nullable=frozenset(nullable.split()),
        free=tuple(free.split()),
    )


FILE = {"name": "shard-00000.safetensors", "size": 9, "sha256": SHA}
LINEAGE = {"spec": "video", "sha256": SHA, "name": "video", "step": 4, "recipe_hash": SHA, "commit": "unknown"}
FREE_IN_CARDS = ("parents.0.recipe_hash", "parents.0.commit", "parents.0.spec", "data.fps", "data.grids", "data.texts")
SETS = {
    "shards": "faces",
    "clips": 3,
    "fingerprint": SHA,
    "heldout_fingerprint": SHA,
    "geometry": "64x112x25@24",
    "fps": 24.0,
    "grids": {
        "video": {"channels": 4, "shape": [7, 8, 14], "rate": "6", "chunk": None, "codec": None},
        "image": {"channels": 4, "shape": [7], "rate": "25/2", "chunk": [3, "1/2"], "codec": "video"},
    },
    "texts": {"text": "text"},
}
NULLABLE_IN_SETS = " ".join(f"data.grids.{name}.{key}" for name in ("video", "image") for key in ("chunk", "codec"))
RECORDS = {
    "runs.records:RECIPE": sample(
        {
            "recipe": {"steps": {"max": 4}, "name": "x"},
            "recipe_hash": SHA,
            "sha256": SHA,
            "parents": {"video": LINEAGE},
            "commit": "unknown",
        },
        optional="commit sha256",
        nullable="commit sha256",
        free="recipe.name",
    ),
    "runs.records:DATA": sample({"recipe": {"name": "x"}}, free="recipe.name"),
    "runs.records:CURRICULUM": sample(
        {"digest": SHA, "prepare": {"name": "x"}, "phases": [{"name": "x"}]},
        optional="prepare phases",
        nullable="prepare",
        free="prepare.name phases.0.name",
    ),
    "runs.records:PLACE": sample(
        {
            "data_root": "../../data/x",
            "store": "sqlite:///../../mlflow.db",
            "artifacts": "../../artifacts",
            "folder": "/runs/x-0a1b2c3d/0001",
        },
        optional="artifacts folder",
        nullable="artifacts folder",
    ),
    "runs.records:RESULT": sample({"step": 4, "sha256": SHA, "metrics": {"train/loss": 2.5}}),
    "runs.records:BEST": sample({"step": 4, "metric": "1 * heldout/video", "value": 2.5}),
    "runs.records:EVALUATION": sample(
        {"sha256": SHA, "clips": 8, "seed": 0, "heldout": SHA, "metrics": {"evaluation/sync": 0.5}}
    ),
    "runs.records:VALIDATED": sample({"step": 4}),
    "tracking.mlflow_run:MLFLOW_RUN": sample(
        {
            "mlflow_run_id": "df14f391af5e494fa1c82f5d6849a3c9",
            "experiment": "x",
            "tracking_uri": "sqlite:////runs/mlflow.db",
            "created": 1795898061809,
            "experiment_id": "1",
            "folder": "/runs/x-0a1b2c3d/0001",
        },
        optional="experiment_id folder",
        nullable="experiment_id folder",
    ),
    "tracking.progress:PROGRESS": sample(
        {"run_id": "df14", "offset": 1, "inflight": 9, "metrics": 5, "artifacts": 1, "missing": 0, "refused": 0},
        optional="metrics artifacts missing refused",
        nullable="inflight",
    ),
    "launch.attempts:ATTEMPTS": sample(
        {"made": [{"job": "17", "restart": 0, "step": 0}], "held": "job 17 is held", "since": 0}, nullable="held"
    ),
    "launch.chain:CHAIN": sample(
        {
            "jobs": [{"name": "x.video", "phase": "video", "run": "/runs/x", "script": "/runs/x.sbatch", "id": "17"}],
            "earlier": ["16"],
        },
        optional="jobs.0.id",
        nullable="jobs.0.id jobs.0.phase jobs.0.run",
    ),
    "resilience.rollback:ROLLBACKS": sample([{"at": 7, "to": 4, "start": 24, "stop": 32, "reason": "loss is nan"}]),
    "resilience.heartbeat:BEAT": sample(
        {
            "rank": 0,
            "attempt": "a",
            "phase": "ended",
            "step": 4,
            "moves": 28,
            "seconds": 0.5,
            "written": 1795898061.5,
            "pid": 7,
        }
    ),
    "resilience.heartbeat:HANG": sample({"told": "hang: rank 1", "attempt": "a", "at": 1795898061.5}, free="attempt"),
    "training.lora:ADAPTER": sample(
        {"r": 4, "lora_alpha": 8.0, "target_modules": ["q", "v"], "peft_type": "LORA", "bias": "none"},
        free="peft_type bias",
    ),
    "data.substitutes:QUARANTINED": sample(
        {"id": "c1", "reason": "it is truncated", "shard": "shard-00000.safetensors", "step": 2, "substitute": "c2"},
        free="reason shard step substitute",
    ),
    "data.records:INDEX": sample(
        {
            "schema": 3,
            "header": {
                "name": "train",
                "split": "train",
                "geometry": "64x112x25@24",
                "fps": 24.0,
                "codecs": {"video": SHA, "text": SHA},
                "codec_configs": {"video": {"kind": "linear_video"}},
            },
            "streams": {
                "video": {"channels": 4, "shape": [7, 8, 14], "rate": "6", "tensor": "latent.video"},
                "image": {
                    "channels": 4,
                    "shape": [7],
                    "rate": "25/2",
                    "chunk": [3, "1/2"],
                    "codec": "video",
                    "tensor": "latent.image",
                },
            },
            "texts": {"text": {"codec": "text", "tensor": "text.text", "length": 1}},
            "null_texts": {**FILE, "clips": 0},
            "shards": [{**FILE, "clips": 1}],
            "clips": [
                {
                    "id": "c1",
                    "captions": {"text": ""},
                    "lengths": {"text": 3},
                    "valid": {"video": 7},
                    "checksums": {"text.text": 5},
                    "starts": {"image": -1.5},
                }
            ],
        },
        optional="clips.0.starts",
        nullable="streams.image.chunk streams.image.codec",
        free="header.codec_configs.video.kind",
    ),
    "data.records:VERIFIED": sample({"shard-00000.safetensors": f"9-1-1-7 {SHA}"}, optional="shard-00000.safetensors"),
    "checkpoints.per_rank_state:RECORD": sample(
        {
            "metrics": {
                "sums": {"train/loss": {"dtype": "float32", "shape": [2], "values": ["nan", "1.5"]}},
                "counts": {"train/loss": {"dtype": "int64", "shape": [2], "values": ["1", "2"]}},
                "clips": 4,
                "share": 1,
                "clock": {"seconds": 0.5, "data": [0.1], "compute": [0.2]},
            },
            "quarantine": {"unreported": False},
        },
        optional="metrics quarantine",
        nullable="metrics quarantine",
    ),
    "checkpoints.manifest:RECORD": sample(
        {
            "schema": 1,
            "names_schema": 1,
            "step": 4,
            "files": {"loop.json": {"sha256": SHA, "size": 9}},
            "sha256": SHA,
        },
        optional="names_schema",
    ),
    "checkpoints.loop:RECORD": sample(
        {
            "step": 4,
            "recipe": SHA,
            "ema_updates": 4,
            "data": {
                "consumed": 16,
                "passed": [[4, 8]],
                "quarantined": ["c1"],
                "clips": 12,
                "fingerprint": SHA,
                "seed": 1,
            },
            "guard": {"good": {"0": [[0.5, 1.5]]}, "skipped": [{"step": 2, "kind": "spike", "what": "x"}]},
        },
        nullable="recipe",
    ),
    "checkpoints.released:RECORD": sample(
        {
            "schema": 1,
            "names_schema": 1,
            "components": {"bridge": {"file": "bridge.safetensors", "sha256": SHA, "bytes": 9, "parameters": 2}},
            "files": {
                name: {"sha256": SHA, "size": 9}
                for name in (
                    "bridge.safetensors",
                    "adapter/adapter_model.safetensors",
                    "adapter/adapter_config.json",
                )
            },
            "base": {"sha256": SHA, "path": "/runs/x", "name": "x"},
            "adapter": True,
            "name": "joint",
            "phase": "joint",
            "step": 4,
            "weights": "ema",
            "recipe": {"name": "joint", "codecs": {"video": {"kind": "linear_video"}}},
            "recipe_hash": SHA,
            "commit": "unknown",
            "shape": {"video": {"dim": 8}, "audio": {}, "bridge": {}},
            "data": SETS,
            "codecs": {"video": SHA, "text": SHA},
            "survival": {
                "skipped_steps": [{"step": 2, "kind": "spike", "what": "x"}],
                "passed_batches": [[1, 2]],
            },
            "quarantined": {"clips": 0, "sha256": SHA},
            "parents": {"video": LINEAGE},
        },
        optional="names_schema",
        nullable=f"base base.path quarantined.sha256 {NULLABLE_IN_SETS}",
        free="components.bridge.sha256 components.bridge.bytes recipe.name shape.video shape.audio shape.bridge",
    ),
    "runs.inputs_record:FACTS": sample(
        {"data": SETS, "codecs": {"video": SHA, "text": SHA}, "carried": {"audio": SHA}}, nullable=NULLABLE_IN_SETS
    ),
    "checkpoints.places:KIND": sample(
        {"folder": "/runs/x/release", "weights": {"video": "/weights/wan"}, "base": "../../base/release"},
        optional="base weights.video",
        nullable="base",
    ),
    "prepare.report:PREPARED": sample(
        {
            "key": SHA,
            "report": {
                "kept": 1,
                "seconds": 1.0,
                "truncated": 0,
                "padded": 0,
                "peak_limited": 0,
                "late": 0,
                "outside": 0,
                "quarantined": [{"id": "c2", "reason": "silent", "detail": "Invalid data"}],
                "fingerprint": SHA,
                "took": 0.5,
                "reused": False,
            },
        },
    ),
    "prepare.lip_sync:SCORES": sample({"offset": -1.0, "confidence": 4.5}),
    "prepare.speakers:PEOPLE": sample({"people": 2, "talking_head": False}, optional="talking_head"),
    "prepare.report:REPORT": sample({"codecs": {"video": SHA}, "manifest": SHA}, free="manifest"),
    "prepare.fitting:FIT": sample({"key": SHA, "clips": 8}, optional="clips"),
    "prepare.hashes:HASHES": sample({"a.mp4": ["9-1-1-7", SHA]}, optional="a.mp4"),
    "codecs.pretrained:PRETRAINED": sample({"z_dim": 16}, optional="z_dim", free="z_dim"),
    "codecs.fitted:FITTED": sample(
        {"codec": {"kind": "linear_audio"}, "identity": SHA, "sha256": SHA}, free="codec.kind"
    ),
    "tracking.card_record:CARD": sample(
        {
            "license": "mit",
            "pipeline_tag": "image-to-video",
            "tags": ["talkies", "video"],
            "model-index": [{"results": [{"metrics": [{"type": "evaluation/sync", "value": 0.5}]}]}],
            "talkies": {
                "name": "toy",
                "version": 1,
                "aliases": ["champion"],
                "sha256": SHA,
                "run_id": "df14",
                "phase": "lora",
                "step": 4,
                "weights": "ema",
                "recipe": "lora",
                "recipe_hash": SHA,
                "commit": "unknown",
                "components": {"audio": 5},
                "base": {"name": "joint", "sha256": SHA},
                "parents": [{**LINEAGE, "component": "audio"}],
                "data": SETS,
                "codecs": {"audio": SHA},
                "gates": [
                    {"metric": "evaluation/sync", "op": ">=", "needed": 0.1, "found": 0.5, "passed": True},
                ],
                "survival": {"skipped_steps": [{"step": 2, "what": "x"}], "passed_batches": [[1, 2]]},
                "quarantined": {"clips": 1},
                "codec_kinds": {"audio": "linear_audio"},
                "samples": [{"picture": "a.jpg", "prompt": "A cat"}],
                "server": "https://host",
            },
        },
        nullable="talkies.base talkies.gates.0.found talkies.server",
        free=" ".join(f"talkies.{key}" for key in FREE_IN_CARDS),
    ),
    "weights.found:JSON": sample({"dim": 16}, optional="dim", free="dim"),
    "tracking.versions:ORIGIN": sample({"source": "runs:/df14/release", "uri": "sqlite:////runs/mlflow.db"}),
}
"""Where each Kind is defined, and a record of that kind."""
WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**64,
    10**299,
    1.5,
    "",
    "x",
    "\0",
    [],
    [1],
    [[]],
    {},
    {"x": 1},
    {"": None},
)
RAW = {
    "empty": b"",
    "blank": b" \n",
    "truncated": b'{"a": ',
    "no UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "text": b"torn",
    "deep lists": b"[" * 10_000,
    "deep mappings": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "as deep as Python reads": b"[" * 900 + b"]" * 900,
    "twice the same key": b'{"a": 1, "a": 2}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "1e999": b'{"a": 1e999}',
    "a number beyond floats": b'{"a": ' + b"9" * 350 + b"}",
    "a number that Python does not convert": b'{"a": ' + b"9" * 5000 + b"}",
    "half a surrogate": b'{"a": "\\ud800"}',
    "null": b"null",
    "a number": b"1",
    "text as JSON": b'"x"',
    "a NUL": b'{"a": "\0"}',
}


def kind_of(name: str) -> Kind[Any]:
    module, _, attribute = name.partition(":")
    kind: Kind[Any] = getattr(importlib.import_module(f"talkies.{module}"), attribute)
    return kind


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every key and of every list entry, including the outer ones."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in entries:
        yield (*path, key)
        yield from leaves(child, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with `new` at `path`; if `new` is Ellipsis, without that key."""
    copy = json.loads(json.dumps(value))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    if new is ...:
        del holder[path[-1]]
    else:
        holder[path[-1]] = new
    return copy


def value_at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def json_type(value: Any) -> str:
    """The type of a JSON value; integers count as numbers."""
    return "number" if type(value) in (int, float) else type(value).__name__


def shown(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def refusal(kind: Kind[Any], file: Path) -> str | None:
    """The message with which the record in `file` is refused; None if it is read."""
    try:
        kind.read(file)
        return None
    except UserError as refused:
        error = refused
    message = str(error)
    assert error.exit_code == 65
    assert str(file) in message
    assert message.endswith(kind.remedy)
    assert message.isprintable()
    assert len(message) < 600 + len(str(file))
    return message


@pytest.mark.parametrize("name", RECORDS)
def test_every_key_is_checked(tmp_path: Path, name: str) -> None:
    kind, known, file = kind_of(name), RECORDS[name], tmp_path / "record.json"

    def read(values: Any) -> str | None:
        file.write_text(json.dumps(values))
        return refusal(kind, file)

    assert read(known.values) is None
    if is_dataclass(kind.holds):
        assert read({**known.values, "a key of another version": [1]}) is None
    for path in leaves(known.values):
        where = shown(path)
        if any(where == head or where.startswith(f"{head}.") for head in known.free):
            continue
        named = [f"`{shown(path[: end + 1])}" for end in range(len(path))]  # a key above it, or one below
        if len(path) == 1 and isinstance(path[0], str):
            message = read(changed(known.values, path, ...))
            assert (
                message is None
                if where in known.optional
                else message is not None and any(name in message for name in named)
            ), where
        for new in WRONG:
            message = read(changed(known.values, path, new))
            if message is not None:
                # A codec that is not among the `codecs`; by default a stream's own.
                lacking = [f" lack {new or path[-2]};"] if path[-1] in ("codec", "text") and path[1:] else []
                keys = [*named, *lacking, f"has {where} "]
                assert any(key in message for key in keys), f"{where}: {new!r}: {message}"
            elif not (new is None and where in known.nullable):
                assert json_type(new) == json_type(value_at(known.values, path)), f"{where}: {new!r} was read"


ENCODED = {
    "data.records:INDEX": "header.codecs",
    "checkpoints.released:RECORD": "codecs",
    "runs.inputs_record:FACTS": "codecs",
}


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("part", ["video", "text"])
def test_each_modality_and_the_text_have_a_codec(tmp_path: Path, name: str, part: str) -> None:
    kind, file, key = kind_of(name), tmp_path / "record.json", ENCODED[name]
    file.write_text(json.dumps(changed(RECORDS[name].values, (*key.split("."), part), ...)))
    assert f"{file} is damaged: its `{key}` lack {part};" in (refusal(kind, file) or "")


@pytest.mark.parametrize("source", ["x", "runs:/", "runs:/df14", "runs://release", "/releases/x", "models:/toy/1"])
def test_a_release_came_from_the_artifacts_of_a_run(tmp_path: Path, source: str) -> None:
    kind, file = kind_of("tracking.versions:ORIGIN"), tmp_path / "record.json"
    file.write_text(json.dumps({**RECORDS["tracking.versions:ORIGIN"].values, "source": source}))
    assert f"its `source` is {source!r}, and must be of the form" in (refusal(kind, file) or "")


OLDER = {
    "data.records:INDEX": {
        "schema": 2,
        "header": {
            "name": "train",
            "split": "train",
            "geometry": "64x112x25@24",
            "fps": 24.0,
            "codecs": {"video": SHA, "text": SHA},
            "codec_configs": {"video": {"kind": "linear_video"}},
            "mask_channels": 4,
        },
        "grids": {"video": {"channels": 4, "shape": [7, 8, 14], "rate": "6"}},
        "image": True,
        "null_text": {**FILE, "clips": 0, "length": 1},
        "shards": [{**FILE, "clips": 1}],
        "clips": [{"id": "c1", "caption": "", "valid": {"video": 7}, "text_length": 3, "checksums": {"text": 5}}],
    },
}
"""Records of older schemas, by kind."""


@pytest.mark.parametrize("name", OLDER)
def test_a_damaged_record_of_an_older_schema_is_refused_with_its_file(tmp_path: Path, name: str) -> None:
    """Whatever a migration stumbles over. Values are checked after it: their keys are those of the newest schema."""
    kind, values, file = kind_of(name), OLDER[name], tmp_path / "record.json"

    def read(damaged: Any) -> str | None:
        file.write_text(json.dumps(damaged))
        return refusal(kind, file)

    assert read(values) is None
    for path in leaves(values):
        if isinstance(path[-1], str) and path[0] != "schema":
            assert len(path) > 2 or path[-1] == "mask_channels" or read(changed(values, path, ...)) is not None, path
        for new in WRONG:
            read(changed(values, path, new))  # is read or refused, but never an error of another kind


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("raw", RAW)
def test_invalid_json_is_refused(tmp_path: Path, name: str, raw: str) -> None:
    file = tmp_path / "record.json"
    file.write_bytes(RAW[raw])
    assert refusal(kind_of(name), file) is not None


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", RECORDS)
def test_only_regular_files_of_a_bounded_size_are_read(tmp_path: Path, name: str) -> None:
    kind, file = kind_of(name), tmp_path / "record.json"
    assert "No such file" in str(refusal(kind, file))
    assert kind.find(file) is None
    os.mkfifo(file)
    assert "it is a named pipe" in str(refusal(kind, file))
    file.unlink()
    file.mkdir()
    assert "it is a folder" in str(refusal(kind, file))
    file.rmdir()
    file.symlink_to("/dev/zero")
    assert "it is a device" in str(refusal(kind, file))
    file.unlink()
    file.symlink_to(tmp_path / "nowhere")
    assert "No such file" in str(refusal(kind, file))
    with pytest.raises(UserError):
        kind.find(file)
    file.unlink()
    with file.open("wb") as handle:
        handle.truncate(kind.limit + 1)  # a sparse file, which takes no disk space
    assert f"it has {kind.limit + 1} bytes, and at most {kind.limit} are read" in str(refusal(kind, file))


def test_a_socket_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        assert "it is a socket" in str(refusal(kind_of("runs.records:RESULT"), Path("s")))


def test_every_kind_of_record_is_listed_here() -> None:
    kinds = {
        f"{path.relative_to(ROOT).with_suffix('').as_posix().replace('/', '.')}:{target.id}"
        for path in ROOT.rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        for target in node.targets
        if isinstance(target, ast.Name) and ast.unparse(node.value.func) == "Kind"
    }
    assert kinds == RECORDS.keys()


READERS = {
    "checkpoints/manifest.py": "of bytes that the reader has decoded",
    "checkpoints/tensors.py": "of a file that its manifest vouches for, which damage() has opened",
    "checkpoints/weights.py": "the header of a safetensors file, of a bounded length",
    "codecs/token_text.py": "a tokenizer, by regular_bytes",
    "config/plain_json.py": "the reader",
    "config/records.py": "the reader",
    "data/stored.py": "the header of a safetensors file, of a bounded length",
    "generate/prompts.py": "lines of prompts, which are the user's",
    "launch/script.py": "a template of the repository",
    "prepare/items.py": "manifests, which are the user's",
    "recipe/full_scale.py": "recipes of the repository",
    "runs/run_export.py": "small files of an import, which read_release has verified",
    "tracking/records.py": "lines of a spool, which are checked there",
    "tracking/replay.py": "/proc",
    "weights/headers.py": "the header of a safetensors file, of a bounded length",
}
"""Modules that read files without the reader of records, and what they read."""


def test_records_are_read_by_the_reader_alone() -> None:
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        if ast.unparse(node.func).rpartition(".")[2] in ("read_text", "read_bytes", "_read_text")
        or ast.unparse(node.func) in ("json.load", "json.loads")
    }
    assert modules == READERS.keys(), "read records by a Kind of talkies/config/records.py"


@record
class Grown:
    """A record whose `a` was named `b` in schema 2, and whose `c` was added in schema 4."""

    schema: int
    a: int
    c: int


GROWN = Kind(
    holds=Grown,
    about="test",
    remedy="make it again",
    first=2,
    migrations=(
        lambda values: {"a" if key == "b" else key: value for key, value in values.items()},
        lambda values: {"c": 7, **values},
    ),
)


@pytest.mark.parametrize("old", [{"b": 1}, {"schema": 2, "b": 1}, {"schema": 3, "a": 1}, {"schema": 4, "a": 1, "c": 7}])
def test_a_record_of_an_older_schema_is_migrated(tmp_path: Path, old: dict[str, int]) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({**old, "beside": "x"}))
    assert GROWN.read(path) == Grown(schema=4, a=1, c=7)
    assert GROWN.read_values(path) == {"schema": 4, "a": 1, "c": 7, "beside": "x"}


@pytest.mark.parametrize("schema", [1, 5])
def test_a_record_of_an_unknown_schema_is_refused(tmp_path: Path, schema: int) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"schema": schema, "a": 1, "c": 7}))
    with pytest.raises(
        DataError, match=rf"x\.json has schema {schema}, this version reads 2 to 4: use the talkies that"
    ):
        GROWN.read(path)
