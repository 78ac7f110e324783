"""Recipes and names that try to run code or to read other values are refused without effect."""

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from training_runs import PREPARE, RECIPES

JOINT = str(RECIPES / "joint_phase1.yaml")
SITE = {"kind": "site", "limits": {"nodes": 2, "gpus_per_node": 2, "time": "01:00:00"}}
RecordOutcome = Callable[..., None]
Refused = Callable[..., str]


HOSTILE_YAML = (
    "!!python/object/apply:os.system ['touch {marker}']",
    "!!python/object/new:os.system ['touch {marker}']",
    "!!python/object/apply:subprocess.check_call [[touch, '{marker}']]",
)


@pytest.mark.fault("s3", "YAML !!python/object/apply", injected="in a recipe, a preparation, a site, an override")
@pytest.mark.parametrize("text", HOSTILE_YAML)
def test_no_yaml_creates_an_object(
    tmp_path: Path, marker: Path, refused: Refused, text: str, record_outcome: RecordOutcome
) -> None:
    spelled = text.format(marker=marker)
    yaml.load(spelled, Loader=yaml.UnsafeLoader)
    assert marker.exists(), "the payload works"
    marker.unlink()
    for kind, verb in (("phase", "train"), ("prepare", "prepare"), ("curriculum", "train"), ("phase", "show")):
        (tmp_path / "x.yaml").write_text(f"kind: {kind}\nname: {spelled}\n")
        assert "tag '!!python" in refused(verb, str(tmp_path / "x.yaml"))
    (tmp_path / "site.yaml").write_text(f"kind: site\npartition: {spelled}\n")
    assert "tag '!!python" in refused("submit", JOINT, "--site", str(tmp_path / "site.yaml"), "--dry-run")
    assert "tag '!!python" in refused("train", JOINT, f"name={spelled}")
    record_outcome("exit 2 with file and line")


@pytest.mark.fault("s4", "dotted path as a name", injected="module.function for every kind, _target_ and class_path")
@pytest.mark.fault("s5", "alias path to os.system", injected="torch.utils.data.dataloader.os.system for every kind")
def test_no_name_is_imported(
    tmp_path: Path, marker: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch, record_outcome: RecordOutcome
) -> None:
    (tmp_path / "canary_of_talkies.py").write_text(f"open({str(marker)!r}, 'w').close()\ndef go(*args): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    called: list[str] = []
    monkeypatch.setattr(os, "system", called.append)
    for path in ("canary_of_talkies.go", "os.system", "torch.utils.data.dataloader.os.system"):
        for key in ("phase", "model", "optimizer", "parallel", "codecs.text", "codecs.video"):
            refused("train", JOINT, f"{key}.kind={path}")
            refused("train", JOINT, f"{key}._target_={path}", f"{key}.class_path={path}")
        (tmp_path / "x.yaml").write_text(f"kind: {path}\n_target_: {path}\n")
        refused("train", str(tmp_path / "x.yaml"))
        refused("sample", f"models:/{path}@champion", "--prompt", "x", codes=(65, 69))
    assert called == []
    assert "canary_of_talkies" not in sys.modules
    importlib.import_module("canary_of_talkies")
    assert marker.exists(), "an import would have been seen"
    sys.modules.pop("canary_of_talkies")
    record_outcome("exit 2, never imported: kinds are a closed list")


@pytest.mark.fault("s6", "${oc.env:AWS_SECRET_ACCESS_KEY}", injected="in a recipe, an override, a preparation, a site")
def test_no_recipe_reads_the_environment(
    tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch, record_outcome: RecordOutcome
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    said = []
    for text in ("${oc.env:AWS_SECRET_ACCESS_KEY}", "${oc.decode:${oc.env:AWS_SECRET_ACCESS_KEY}}"):
        (tmp_path / "x.yaml").write_text(f"extends: defaults.yaml\nname: '{text}'\n")
        (tmp_path / "defaults.yaml").write_text("kind: phase\n")
        (tmp_path / "p.yaml").write_text(json.dumps({**PREPARE, "name": text}))
        (tmp_path / "site.yaml").write_text(json.dumps({**SITE, "account": text}))
        said += [refused(verb, str(tmp_path / "x.yaml")) for verb in ("train", "show", "plan")]
        said += [refused("train", JOINT, f"name={text}"), refused("prepare", str(tmp_path / "p.yaml"))]
        said += [refused("submit", JOINT, "--site", str(tmp_path / "site.yaml"), "--dry-run")]
    assert not [line for line in said if "wJalrXUtnFEMI" in line]
    assert [line for line in said if not ("resolver" in line or "only ${key.path} is allowed" in line)] == []
    record_outcome("exit 2, the value is never read")


@pytest.mark.fault("s7", "hostile job name", injected="through `submit`")
def test_submit_refuses_a_hostile_name(
    tmp_path: Path, marker: Path, refused: Refused, record_outcome: RecordOutcome
) -> None:
    (tmp_path / "site.yaml").write_text(json.dumps(SITE))
    for name in (f"x; touch {marker}", "x\\n#SBATCH --uid=0", "$(id)", "x y"):
        said = refused("submit", JOINT, f'name="{name}"', "--site", str(tmp_path / "site.yaml"), "--dry-run")
        assert "name" in said
        assert "#SBATCH --job-name" not in said
    record_outcome("exit 2, no script")
