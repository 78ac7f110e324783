"""`talkies plan` of layouts, from the command line: cards, rates, degrees that do not divide evenly."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from talkies.cli.main import run

RECIPES = Path(__file__).parents[2] / "recipes" / "mova"
PHASE2 = str(RECIPES / "joint_phase2.yaml")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(["plan", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["plan", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("talkies: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("name", "ranks", "sequence"),
    [("joint_phase1", 1024, 8), ("joint_phase2", 1024, 8), ("finetune_720p", 1024, 16), ("lora", 8, 2)],
)
def test_full_scale_layouts_fit_80_gb(capsys: pytest.CaptureFixture[str], name: str, ranks: int, sequence: int) -> None:
    values = planned(capsys, str(RECIPES / f"{name}.yaml"), "--card", "80")
    assert (values["ranks"], values["parallel"]["sequence"], values["checkpointing"]) == (ranks, sequence, True)
    assert values["micro_batch"] == 1
    assert values["fit"]["fits"]
    assert values["fit"]["smallest"]["shard"] <= 16


def test_a_plan_at_full_scale_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    """CPU time: other processes must not matter."""
    began = time.process_time()
    planned(capsys, str(RECIPES / "finetune_720p.yaml"))
    assert time.process_time() - began < 10


def test_json_holds_every_section(capsys: pytest.CaptureFixture[str]) -> None:
    values = planned(capsys, PHASE2, "--flops-rate", "2e15", "--mfu", "0.5", "--write-rate", "1e9")
    assert values["shares"]["audio"] == {"tokens": 51, "padding": 5, "exchange": 4, "gather": 2}
    assert values["readers"] == 128
    assert values["divisibility"] == {"batch": 128, "batches": [256], "sequences": [1, 2, 4, 8, 16]}
    assert values["speed"]["sustained"] == 1e15
    assert values["speed"]["seconds"] == pytest.approx(values["speed"]["flops"] / 1e15)
    assert values["disk"]["write_seconds"] == pytest.approx(values["disk"]["checkpoint"] / 1e9)
    assert values["communication"]["total"] > values["communication"]["all_gather"] > 0
    memory = values["memory"]
    parts = [size for key, size in memory.items() if key not in ("host", "total", "activations")]
    assert memory["total"] == sum(parts) + memory["activations"]["total"]
    assert values["fit"] is None
    assert planned(capsys, PHASE2, "--measured-rate", "3e14")["speed"]["sustained"] == 3e14


def test_a_layout_that_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, PHASE2, "--card", "24")
    assert "joint_phase2 needs 53." in error
    assert "the GPU has 24 GB; the smallest layout that fits it: 'parallel={kind: fsdp2, replicate: 1, shard:" in error
    overrides = error[error.index("'parallel") :].split("' ")
    again = [overrides[0].strip("'"), *overrides[1].split()]
    assert planned(capsys, PHASE2, *again, "--card", "24")["fit"]["fits"]
    assert "no layout of at most 1024 ranks" in refused(
        capsys, str(RECIPES / "finetune_720p.yaml"), "data.geometry=8192x8192x29@24", "--card", "24"
    )


@pytest.mark.parametrize(
    ("overrides", "needed"),
    [
        (["parallel.sequence=3"], "1, 2, 4, 8, 16"),
        (["steps.global_batch=100"], "128"),
        (["parallel={kind: fsdp2, replicate: 1, shard: 12, sequence: 4}"], "126 or 129"),
    ],
)
def test_degrees_that_do_not_divide(capsys: pytest.CaptureFixture[str], overrides: list[str], needed: str) -> None:
    assert needed in refused(capsys, PHASE2, *overrides)


@pytest.mark.parametrize(
    "options", [["--mfu", "0"], ["--mfu", "35"], ["--flops-rate", "-1"], ["--mfu", "0.3", "--measured-rate", "1e14"]]
)
def test_rates_out_of_range_are_refused(capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    assert "--" in refused(capsys, PHASE2, *options)


def test_the_text_has_every_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", PHASE2, "--card", "80"]) == 0
    text = capsys.readouterr().out
    for words in ("1,024 ranks", "seconds per step", "sequence all-to-all", "gathered weights", "fits a GPU of 80 GB"):
        assert words in text
    assert all(len(line) <= 120 or "smallest" in line for line in text.splitlines())
