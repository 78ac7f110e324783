"""What a machine cannot do is reported before anything starts. Torch's answers about the machine are replaced."""

import pytest
import torch

from talkies.config import RecipeError
from talkies.parallel import machine
from talkies.parallel.config import DdpConfig, DeepspeedConfig
from talkies.parallel.machine import check_machine


@pytest.fixture
def old_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU of 2017."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)


@pytest.mark.usefixtures("old_gpu")
def test_bf16_needs_a_gpu_that_has_it() -> None:
    check_machine(DdpConfig(), bf16=False)
    with pytest.raises(RecipeError, match=r"which Tesla V100 has no arithmetic for .*: set precision=fp32"):
        check_machine(DdpConfig(), bf16=True)


@pytest.mark.usefixtures("old_gpu")
def test_deepspeed_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    check_machine(DeepspeedConfig(shard=2), bf16=False)
    monkeypatch.setattr(machine, "find_spec", lambda _: None)
    with pytest.raises(RecipeError, match=r"not installed: pip install -c constraints.txt -e '.\[deepspeed\]'"):
        check_machine(DeepspeedConfig(shard=2), bf16=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA GPUs")
def test_a_machine_without_gpus_computes_bf16_but_runs_no_deepspeed() -> None:
    check_machine(DdpConfig(), bf16=True)
    with pytest.raises(RecipeError, match="needs CUDA GPUs"):
        check_machine(DeepspeedConfig(shard=2), bf16=False)
