"""A runs folder to move: a copy of the toy_run's with a stopped run, and records of today or of an older version."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from toy_run import RECIPES, TINY, ToyRun, copy_runs

from talkies.cli.main import run
from talkies.files.integrity import sha256_of
from talkies.tracking import spool
from talkies.tracking.moved_store import readdress
from talkies.tracking.records import encode

AUDIO = str(RECIPES / "audio_pretraining.yaml")


def train(runs: Path, *words: str) -> int:
    """Train the phase that the copy has stopped, on its own, in `runs` and on its data."""
    (data,) = (runs / "data").iterdir()
    return run(["train", AUDIO, *TINY, f"data.root={data}", *words, "--runs", str(runs), "--quiet"])


def copied(toy_run: ToyRun, runs: Path, *, old: bool) -> Path:
    """The toy_run's runs folder at `runs`, as if it had been made there, and in it a phase stopped at step 2."""
    link_runs(toy_run, runs)
    if old:
        as_before(runs)
    assert train(runs, "--stop-at", "2") == 0
    wait_for_uploaders(runs)
    if old:
        as_before(runs)
    return runs


def wait_for_uploaders(runs: Path) -> None:
    """On a busy machine an uploader may start after its phase has ended, and write to its folder then."""
    for uploader in spool._detached:
        if any(str(word).startswith(str(runs)) for word in uploader.args):  # type: ignore[union-attr]
            assert uploader.wait(200) == 0


def link_runs(toy_run: ToyRun, runs: Path) -> None:
    """The toy_run's runs folder at `runs`, with links to its weights."""
    copy_runs(toy_run, runs, copy=_copy, symlinks=True)


def _copy(source: str, target: str) -> None:
    """Link weights, which are never written to, and copy all else."""
    if source.endswith((".safetensors", ".distcp")):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def as_before(runs: Path) -> None:
    """Rewrite every record below `runs` as the version before relative paths wrote it."""
    for path in runs.rglob("*.json"):
        if path.name in ("place.json", "run.json"):
            path.write_text(json.dumps(_absolute(json.loads(path.read_text()), path.parent)))
    for path in runs.rglob("spool.jsonl"):
        _respool(path)
    for place in [*runs.glob("*/*/place.json"), *runs.glob("*/*/*/place.json")]:
        (place.parent / "inputs.json").unlink(missing_ok=True)
        shutil.rmtree(place.parent / "codecs", ignore_errors=True)
    for run_folder in runs.glob("*/*/6-lora"):
        _base_by_path(run_folder, runs)
    readdress(runs / "mlflow.db")  # artifacts of the copied store are beside it


def _respool(path: Path) -> None:
    """Rewrite the spool with absolute paths, and correct the offset up to which it was sent."""
    sent = path.with_name("progress.json")
    progress = json.loads(sent.read_text()) if sent.exists() else {}
    lines, read = [], 0
    for line in path.read_bytes().splitlines(keepends=True):
        values = json.loads(line)
        lines.append(encode(_absolute(values, path.parent)) if values["kind"] == "begin" else line)
        read += len(line)
        if read == progress.get("offset"):
            sent.write_text(json.dumps({**progress, "offset": len(b"".join(lines))}))
    path.write_bytes(b"".join(lines))


def _absolute(values: dict[str, object], folder: Path) -> dict[str, object]:
    values.pop("folder", None)
    for key in ("data_root", "artifacts", "parent"):
        if values.get(key):
            values[key] = str((folder / str(values[key])).resolve())
    for key in ("store", "tracking_uri"):
        file = str(values.get(key, "")).removeprefix("sqlite:///")
        if file:
            values[key] = f"sqlite:///{(folder / file).resolve()}"
    return values


def _base_by_path(run_folder: Path, runs: Path) -> None:
    """Let a LoRA's release name its base by path, too, which changes its hash, in the registry as well."""
    release = run_folder / "release" / "release.json"
    old, values = sha256_of(release), json.loads(release.read_text())
    values["base"]["path"] = str(run_folder.parent / "5-high_resolution" / "release")
    for path in [path for path in runs.rglob("release/release.json") if sha256_of(path) == old]:
        path.write_text(json.dumps(values))
        path.with_name("places.json").unlink(missing_ok=True)
    for name in ("result.json", "evaluation.json"):
        record = json.loads((run_folder / name).read_text())
        (run_folder / name).write_text(json.dumps({**record, "sha256": sha256_of(release)}))
    with closing(sqlite3.connect(runs / "mlflow.db")) as store, store:
        store.execute("UPDATE model_version_tags SET value = ? WHERE value = ?", (sha256_of(release), old))


def contents(folder: Path) -> dict[str, str]:
    """Every file below `folder` by its path and hash."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256_of(path) for path in files}
