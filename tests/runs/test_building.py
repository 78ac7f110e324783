"""From a recipe to a network: the dtypes in which weights are held."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "parallel"))

from held_masters import trained
from tiny_shards import tiny_shards

ALONE = "{kind: ddp}"
MATMULS = (".q.", ".k.", ".v.", ".o.", ".ffn.0.", ".ffn.2.")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_shards(tmp_path_factory.mktemp("tiny")))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_an_adapter_over_a_bf16_base_trains_bitwise_as_over_fp32(shards: str, checkpointing: bool) -> None:
    compute = [f"compute.checkpointing={str(checkpointing).lower()}"]
    wide, half = (trained(shards, masters, ALONE, compute) for masters in ("fp32", "bf16"))
    assert half["losses"] == wide["losses"]
    assert len(half["grads"]) > 10
    for part in ("grads", "weights", "moments"):
        assert half[part].keys() == wide[part].keys()
        for name, value in half[part].items():
            assert value.dtype == torch.float32
            assert torch.equal(value, wide[part][name]), (part, name)
    assert any(grad.any() for name, grad in half["grads"].items() if ".lora_A." in name)
    assert set(wide["base"].values()) == {"torch.float32"}
    for name, dtype in half["base"].items():
        lowered = any(part in name for part in MATMULS) and (".blocks." in name or name.startswith("bridge."))
        assert dtype == f"torch.{'bfloat16' if lowered else 'float32'}", name


def test_a_stopped_and_resumed_run_over_a_bf16_base_is_exact(shards: str, tmp_path: Path) -> None:
    expected = trained(shards, "bf16", ALONE, folder=tmp_path / "whole")
    first = trained(shards, "bf16", ALONE, folder=tmp_path / "cut", stop_at=2)
    rest = trained(shards, "bf16", ALONE, folder=tmp_path / "cut")
    assert first["losses"] + rest["losses"] == expected["losses"]
    for part in ("grads", "weights", "moments"):
        assert rest[part].keys() == expected[part].keys()
        assert all(torch.equal(value, expected[part][name]) for name, value in rest[part].items())
