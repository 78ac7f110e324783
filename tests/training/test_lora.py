"""LoRA by PEFT: a no-op at the start, the frozen base untouched, files in PEFT's format."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from talkies.config import CheckpointError, RecipeError
from talkies.models.build import build
from talkies.models.mova.config import COMPONENTS, MovaConfig
from talkies.models.mova.system import MOVA
from talkies.training.config import LoraConfig
from talkies.training.lora import adapter_json, adapter_tensors, adapters_off, add_lora, load_adapter


def model() -> nn.Module:
    return build(MOVA, SimpleNamespace(model=MovaConfig(preset="toy")), COMPONENTS, seed=0)


def linears(module: nn.Module) -> set[str]:
    return {name for name, m in module.named_modules() if isinstance(m, nn.Linear)}


def test_targets_are_every_linear_of_every_block_and_of_the_bridge() -> None:
    plain, adapted = model(), model()
    add_lora(adapted, LoraConfig(rank=2), seed=1)
    targets = {name.split(".lora_")[0] for name, p in adapted.named_parameters() if p.requires_grad}
    assert targets == {name for name in linears(plain) if ".blocks." in name or name.startswith("bridge.")}
    assert all(".lora_" in name for name, p in adapted.named_parameters() if p.requires_grad)


def test_starts_as_a_no_op_and_is_seeded() -> None:
    first, second = model(), model()
    add_lora(first, LoraConfig(rank=2), seed=1)
    add_lora(second, LoraConfig(rank=2), seed=1)
    a, b = adapter_tensors(dict(first.named_parameters())), adapter_tensors(dict(second.named_parameters()))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert all(not value.any() for key, value in a.items() if ".lora_B." in key)
    assert any(value.any() for key, value in a.items() if ".lora_A." in key)


def test_adapters_off_gives_the_base_bitwise() -> None:
    base, adapted = model(), model()
    add_lora(adapted, LoraConfig(rank=2), seed=1)
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if ".lora_B." in name:
                p.fill_(0.5)
    q, plain = adapted.audio.blocks[0].self_attn.q, base.audio.blocks[0].self_attn.q
    x = torch.randn(3, q.in_features, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(q(x), plain(x))
    with adapters_off(adapted):
        assert torch.equal(q(x), plain(x))
    assert not torch.equal(q(x), plain(x))


def test_adapter_files_load_into_another_base_and_refuse_another_architecture(tmp_path: Path) -> None:
    config = LoraConfig(rank=2)
    adapted, other = model(), model()
    add_lora(adapted, config, seed=1)
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if ".lora_B." in name:
                p.normal_(generator=torch.Generator().manual_seed(2))
    tensors = adapter_tensors(dict(adapted.named_parameters()))
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(adapter_json(config, "base"))
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "LORA"
    add_lora(other, config, seed=9)
    load_adapter(other, tmp_path, config)
    again = adapter_tensors(dict(other.named_parameters()))
    assert all(torch.equal(tensors[key], again[key]) for key in tensors)
    tensors.pop(next(iter(tensors)))
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="another architecture; it lacks"):
        load_adapter(other, tmp_path, config)
    with pytest.raises(CheckpointError, match=r"\(rank, alpha, targets\) are \(2, 16"):
        load_adapter(other, tmp_path, LoraConfig(rank=4))


def test_a_target_that_matches_nothing_is_named_with_its_nearest() -> None:
    with pytest.raises(RecipeError, match=r"'to_q' matches none of .* nearest: .*q"):
        add_lora(model(), LoraConfig(targets=("q", "to_q")), seed=0)
