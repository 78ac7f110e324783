"""Releases that steal credentials or run code from files are refused by their metadata, before they are imported."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from talkies.cli.versions import FLOORS, check_versions
from talkies.config import RecipeError

SOURCE = Path(__file__).parents[2] / "src"
RECIPE = Path(__file__).parents[2] / "recipes" / "mova" / "toy" / "audio_pretraining.yaml"


def installed(folder: Path, name: str, version: str) -> Path:
    """A folder for PYTHONPATH with that package, which leaves a file behind when it is imported."""
    packages = folder / "packages"
    (packages / f"{name}-{version}.dist-info").mkdir(parents=True)
    (packages / f"{name}-{version}.dist-info" / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    )
    (packages / name).mkdir()
    (packages / name / "__init__.py").write_text(f"open({str(folder / 'stolen')!r}, 'w').close()\n")
    return packages


def talkies(packages: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([str(packages), str(SOURCE)])
    command = [sys.executable, "-m", "talkies.cli.main", *words]
    return subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})


@pytest.mark.fault("s10", "compromised lightning installed", injected="a dist-info of lightning 2.6.3 on PYTHONPATH")
@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_a_malicious_release_is_refused_and_never_imported(
    tmp_path: Path, version: str, record_outcome: Callable[..., None]
) -> None:
    packages = installed(tmp_path, "lightning", version)
    for verb in ("train", "prepare", "submit", "sample"):
        done = talkies(packages, verb, str(RECIPE), "--runs", str(tmp_path / "runs"))
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert f"lightning {version} is installed, a malicious release" in line
        assert "pip install 'lightning>=2.6.6'" in line
    assert not (tmp_path / "stolen").exists()
    assert not (tmp_path / "runs").exists()
    subprocess.run([sys.executable, "-c", "import lightning"], check=True, env={"PYTHONPATH": str(packages)})
    assert (tmp_path / "stolen").exists(), "an import would have been seen"
    record_outcome("exit 2 with the reason, never imported")


@pytest.mark.fault("s10", "compromised lightning installed", injected="its payload under another version's name")
def test_the_payload_is_recognised_whatever_the_version(tmp_path: Path, record_outcome: Callable[..., None]) -> None:
    packages = installed(tmp_path, "lightning", "2.6.9")
    (packages / "lightning" / "_runtime").mkdir()
    done = talkies(packages, "train", str(RECIPE))
    assert (done.returncode, "malicious" in done.stderr) == (2, True)
    assert not (tmp_path / "stolen").exists()
    record_outcome("exit 2, never imported")


@pytest.mark.parametrize(
    ("name", "version", "why"),
    [
        ("lightning", "2.6.5", "CVE-2026-58659"),
        ("lightning", "2.6.4.post1", "CVE-2026-58659"),
        ("lightning", "2.6", "CVE-2026-58659"),
        ("torch", "2.9.1+cu128", "CVE-2026-24747"),
        ("torch", "nightly", "CVE-2026-24747"),
        ("mlflow", "3.11.0", "CVE-2026-2614"),
        ("mlflow", "2.22.0", "CVE-2026-2614"),
    ],
)
def test_releases_with_known_holes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, version: str, why: str
) -> None:
    monkeypatch.syspath_prepend(installed(tmp_path, name, version))
    with pytest.raises(RecipeError, match=why) as refused:
        check_versions()
    floor = ".".join(map(str, FLOORS[name][0]))
    assert f"{name} {version} is installed, {floor} is needed" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "version"), [("lightning", "2.6.6"), ("torch", "2.10.0+cu128"), ("torch", "2.15.0.dev1"), ("mlflow", "4")]
)
def test_others_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, version: str) -> None:
    monkeypatch.syspath_prepend(installed(tmp_path, name, version))
    check_versions()
    monkeypatch.undo()
    check_versions()
