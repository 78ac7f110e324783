"""Files that try to run code or to reach other files are refused without effect."""

import ast
import contextlib
import importlib
import io
import json
import pickle
import struct
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import PREPARE, RECIPES

from talkies.codecs.config import MovaAudioConfig, Umt5TextConfig, WanVideoConfig
from talkies.config import DataError

JOINT = str(RECIPES / "joint_phase1.yaml")
SOURCE = Path(__file__).parents[2] / "src"
RecordOutcome = Callable[..., None]
Refused = Callable[..., str]


class Payload:
    """Unpickling it creates a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.marker,)


def pickled(folder: Path, marker: Path, *names: str) -> Path:
    """Payloads under these names, alternately in torch's format and as plain pickles."""
    for count, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if count % 2:
            (folder / name).write_bytes(pickle.dumps(Payload(marker)))
        else:
            torch.save({"w": Payload(marker)}, folder / name)
    return folder


@pytest.mark.fault("s1", "malicious pickle", injected="wherever a user names a file: parents, sample, evaluate, export")
def test_no_verb_opens_a_pickle(tmp_path: Path, marker: Path, refused: Refused, record_outcome: RecordOutcome) -> None:
    folder = pickled(tmp_path / "theirs", marker, "a.ckpt", "b.pt", "model.bin", "c.pth")
    torch.load(folder / "a.ckpt", weights_only=False)
    assert marker.exists(), "the payload works"
    marker.unlink()
    (folder / "release.json").write_text("{}")
    for parent in (folder, folder / "a.ckpt", folder / "b.pt"):
        refused("train", JOINT, "data.root=x", f"parents.video={parent}", f"parents.audio={parent}", codes=(65,))
    for source in (folder, folder / "a.ckpt", folder / "b.pt"):
        refused("sample", str(source), "--prompt", "a man", codes=(65,))
        refused("evaluate", str(source), codes=(2, 65))
        refused("export", str(source), "--consolidate", "--out", str(tmp_path / "out"), codes=(65,))
        refused("promote", str(source), codes=(2, 65))
    deepspeed = pickled(tmp_path / "theirs" / "zero", marker, "global_step5/mp_rank_00_model_states.pt", "latest")
    refused("sample", str(deepspeed), "--prompt", "a man", codes=(65,))
    record_outcome("exit 65 in one line, nothing unpickled")


@pytest.mark.fault("s1", "malicious pickle", injected="in the folders of the pretrained codecs")
def test_no_codec_opens_a_pickle(tmp_path: Path, marker: Path, record_outcome: RecordOutcome) -> None:
    """Not even next to good weights, as an adapter that transformers would look for."""
    from talkies.codecs.mova_dac import MovaAudioCodec
    from talkies.codecs.umt5 import Umt5TextEncoder
    from talkies.codecs.wan import WanVideoCodec

    sys.path.append(str(Path(__file__).parents[1] / "codecs"))
    written = importlib.import_module("test_umt5_text").written

    names = ("pytorch_model.bin", "diffusion_pytorch_model.bin", "weights.pth", "model.ckpt")
    bare = pickled(tmp_path / "bare", marker, *names)
    pickled(tmp_path / "text", marker, *(f"text_encoder/{name}" for name in names))
    (tmp_path / "text" / "tokenizer").mkdir()
    good: Umt5TextConfig = written(tmp_path / "good")
    for path in (bare, tmp_path / "text" / "text_encoder"):
        (path / "config.json").write_text((tmp_path / "good" / "text_encoder" / "config.json").read_text())
    text = Umt5TextConfig(weights=str(tmp_path / "text"), dim=32, length=8)
    (tmp_path / "text" / "tokenizer" / "tokenizer.json").write_text(
        (tmp_path / "good" / "tokenizer" / "tokenizer.json").read_text()
    )
    loads: list[Callable[[], Any]] = [
        lambda: WanVideoCodec.load(WanVideoConfig(weights=str(bare))),
        lambda: MovaAudioCodec.load(MovaAudioConfig(weights=str(bare))),
        lambda: Umt5TextEncoder.load(text),
    ]
    for load in loads:
        with pytest.raises(DataError):
            load()
        assert not marker.exists()
    pickled(tmp_path / "good" / "text_encoder", marker, "adapter_model.bin", "pytorch_model.bin")
    adapter = {"peft_type": "LORA", "r": 2, "target_modules": ["q"], "base_model_name_or_path": "x"}
    (tmp_path / "good" / "text_encoder" / "adapter_config.json").write_text(json.dumps(adapter))
    with contextlib.suppress(DataError):  # or it ignores the adapter
        Umt5TextEncoder.load(good)
    assert not marker.exists()
    record_outcome("refused, nothing unpickled")


@pytest.mark.fault("s2", "huge safetensors header", injected="2^63 bytes, as weights of a codec")
def test_a_huge_header_is_refused(tmp_path: Path, record_outcome: RecordOutcome) -> None:
    from talkies.codecs.pretrained import read_tensors

    for size in (2**63, 2**40, 100_000_001):
        (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", size) + b"{}")
        with pytest.raises(DataError, match=r"cannot read .*w\.safetensors"):
            read_tensors(tmp_path)
    record_outcome("refused")


@pytest.mark.fault("s8", "tar member ../../etc/x", injected="a tar as media, manifest entry, parent, source and data")
def test_no_archive_is_unpacked(tmp_path: Path, marker: Path, refused: Refused, record_outcome: RecordOutcome) -> None:
    """No code opens archives, and an archive given as another kind of file is refused."""
    deep = tmp_path / "a" / "b" / "clips"
    deep.mkdir(parents=True)
    for name in ("evil.tar", "evil.mp4", "evil.safetensors"):
        with tarfile.open(deep / name, "w") as made:
            info = tarfile.TarInfo("../../marker")
            info.size = 1
            made.addfile(info, io.BytesIO(b"x"))
    (deep / "evil.txt").write_text("a caption")
    with tarfile.open(deep / "evil.tar") as made:
        assert made.getnames() == ["../../marker"]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({"media": str(deep / "evil.tar"), "caption": "a"}) + "\n")
    for source in ({"kind": "folder", "path": str(deep)}, {"kind": "manifest", "path": str(manifest)}):
        (tmp_path / "p.yaml").write_text(json.dumps({**PREPARE, "sources": {"faces": source}}))
        refused("prepare", str(tmp_path / "p.yaml"), "--quiet", codes=(2, 65))
    for path in (deep / "evil.tar", deep / "evil.safetensors"):
        parents = [f"parents.{modality}={path}" for modality in ("video", "audio")]
        refused("train", JOINT, "data.root=x", *parents, codes=(65,))
        refused("train", JOINT, f"data.root={path}", "parents.video=null", "parents.audio=null", codes=(2, 65))
        refused("sample", str(path), "--prompt", "a man", codes=(65,))
    outside = [path for path in tmp_path.rglob("marker*") if path.name == "marker"]
    assert outside == []
    modules = {
        name.split(".")[0]
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert not modules & {"tarfile", "zipfile"}
    assert not [path for path in SOURCE.rglob("*.py") if "unpack_archive" in path.read_text()]
    record_outcome("nothing is unpacked: no code for it; refused as media, parent, source and data")
