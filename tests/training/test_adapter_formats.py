"""An adapter of a release, and the formats that it is exported in."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from talkies.checkpoints.release import write_release
from talkies.cli.main import run
from talkies.config import CheckpointError
from talkies.training.adapter import adapter_of
from talkies.training.config import LoraConfig
from talkies.training.lora import adapter_json, adapter_tensors, add_lora, load_adapter

INFO: dict[str, Any] = {
    "name": "lora",
    "phase": "joint",
    "step": 1,
    "weights": "ema",
    "recipe": {"seed": 0, "codecs": {"text": {"kind": "bytes"}}},
    "recipe_hash": "12" * 32,
    "commit": "abc",
    "shape": {},
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
        "base": {"spec": "a", "sha256": "34" * 32, "name": "a", "step": 1, "recipe_hash": "12" * 32, "commit": "b"}
    },
    "metrics": {},
}
CONFIG = LoraConfig(rank=2, alpha=4, targets=("q",))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleDict({"q": nn.Linear(4, 3)}) for _ in range(2))


def adapted(seed: int) -> Net:
    net = Net()
    add_lora(net, CONFIG, seed=seed)
    for name, parameter in net.named_parameters():
        if ".lora_B." in name:
            parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
    return net


@pytest.fixture
def release(tmp_path: Path) -> Path:
    weights = adapter_tensors(dict(adapted(0).named_parameters()))
    base = {"sha256": "34" * 32, "path": str(tmp_path), "name": "a"}
    adapter = (weights, adapter_json(CONFIG, base["sha256"]))
    write_release(tmp_path / "release", components={}, info=INFO, adapter=adapter, base=base)
    return tmp_path / "release"


def test_every_layer_of_the_adapter_is_found(release: Path) -> None:
    adapter, parameters = adapter_of(release), dict(adapted(0).named_parameters())
    assert (adapter.record.r, adapter.record.lora_alpha) == (2, 4)
    found = list(adapter.pairs())
    assert [name for name, _, _ in found] == ["layers.0.q", "layers.1.q"]
    for name, a, b in found:
        assert torch.equal(a, parameters[f"{name}.lora_A.default.weight"])
        assert torch.equal(b, parameters[f"{name}.lora_B.default.weight"])


def test_the_export_in_pefts_format_is_the_adapter(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = release.with_name("out")
    assert run(["export", str(release), "--adapter", "peft", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"adapter:  {out} (peft, rank 2, alpha 4)\n"
    other = adapted(1)
    load_adapter(other, out, CONFIG)
    wanted = adapter_tensors(dict(adapted(0).named_parameters()))
    assert all(
        torch.equal(value, wanted[name]) for name, value in adapter_tensors(dict(other.named_parameters())).items()
    )
    assert sorted(path.name for path in release.parent.iterdir()) == ["out", "release"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--adapter", "pefft"], "export: --adapter 'pefft' is not a format; one of peft. Did you mean 'peft'?"),
        (["--adapter", "peft", "--data", "x"], "export: --data is for --consolidate: drop it"),
    ],
)
def test_a_wrong_option_is_refused(
    release: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(release), *words, "--out", str(release.with_name("out"))]) == 2
    assert capsys.readouterr().err == f"talkies: {message}\n"
    assert not release.with_name("out").exists()


def test_a_release_without_an_adapter_and_a_damaged_one_are_refused(release: Path, tmp_path: Path) -> None:
    write_release(tmp_path / "whole", components={"net": {"w": torch.ones(1)}}, info={**INFO, "shape": {"net": {}}})
    with pytest.raises(CheckpointError, match="holds whole weights, no adapter"):
        adapter_of(tmp_path / "whole")
    config = release / "adapter" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "r": 3}))
    with pytest.raises(CheckpointError, match=r"adapter_config\.json"):
        adapter_of(release)


def test_the_release_of_a_run_is_exported_and_releases_in_a_folder_are_named(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "out"
    out.parent.mkdir()
    words = ["--adapter", "peft", "--out", str(out)]
    assert run(["export", str(tmp_path), *words]) == 65
    line = f"export: {tmp_path} is a folder of releases, not a release; give one of them: {release}"
    assert capsys.readouterr().err == f"talkies: {line}\n"
    (tmp_path / "recipe.json").write_text("{}")
    assert run(["export", str(tmp_path), *words]) == 65
    assert "has no release yet: talkies export" in capsys.readouterr().err
    assert not out.exists()
    (tmp_path / "result.json").write_text("{}")
    assert run(["export", str(tmp_path), *words]) == 0
    assert (out / "adapter_model.safetensors").is_file()
