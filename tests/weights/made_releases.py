"""Releases of small networks as phases write them: whole weights, and an adapter over them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from made_folders import SIZES, bridge_shapes, seeded, tower_shapes
from torch import Tensor
from tracking_release import LINEAGE, info

from talkies.checkpoints.release import release_sha256, write_release
from talkies.codecs.streamed import streamed_identity
from talkies.config.canonical import to_dict
from talkies.config.source import load
from talkies.models.build import build
from talkies.models.mova.config import COMPONENTS, MovaShape
from talkies.models.systems import SYSTEMS
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe, decode_phase
from talkies.runs.recorded import released_values
from talkies.training.config import LoraConfig
from talkies.training.lora import adapter_json, adapter_tensors, add_lora
from talkies.weights.stored import stored

RECIPES = Path(__file__).parents[2] / "recipes" / "mova"


def recipe_of(*overrides: str, name: str = "joint_phase2", sizes: MovaShape = SIZES) -> PhaseRecipe:
    """A full-scale recipe for small networks."""
    small = ["codecs.audio.channels=4", "codecs.text.dim=32"]
    nowhere = [f"codecs.{part}.weights=null" for part in ("video", "audio", "text")]  # places.json has the folders
    source = load(RECIPES / f"{name}.yaml", [*small, *nowhere, *overrides])
    source.values["model"] = {"kind": "mova", "sizes": to_dict(sizes)}
    return decode_phase(source, SYSTEMS)


def components_of(
    sizes: MovaShape = SIZES, dtype: torch.dtype = torch.float32, seed: int = 10
) -> dict[str, dict[str, Tensor]]:
    """Weights under our names."""
    shapes = {"audio": tower_shapes(sizes.audio), "bridge": bridge_shapes(sizes)}
    found = {}
    for n, name in enumerate(COMPONENTS):
        values = seeded(seed + n, dtype)
        found[name] = {key: values(key, shape) for key, shape in shapes.get(name, tower_shapes(sizes.video)).items()}
    return found


def trained(
    folder: Path, weights: Path | None, *, dtype: torch.dtype = torch.float32, recipe: PhaseRecipe | None = None
) -> Path:
    """The release of a joint phase whose codecs are in `weights`, a released MOVA."""
    recipe = recipe or recipe_of()
    held = parts(recipe).components
    write_release(
        folder,
        components={
            name: tensors for name, tensors in components_of(recipe.model.shape, dtype).items() if name in held
        },
        info=_info(recipe, weights),
        weights=codec_places(weights),
    )
    return folder


def codec_places(weights: Path | None) -> dict[str, str]:
    """part -> the folder that places.json records."""
    if weights is None:
        return {}
    return {"video": str(weights / "video_vae"), "audio": str(weights / "audio_vae"), "text": str(weights)}


def adapted(
    folder: Path, base: Path, weights: Path | None, *, rank: int = 2, recipe: PhaseRecipe | None = None
) -> Path:
    """The release of a LoRA over `base`, with random values in B, too."""
    recipe = recipe or recipe_of(f"train.rank={rank}", "train.alpha=3", name="lora")
    model = build(recipe.system, recipe, parts(recipe).components, seed=None)
    assert isinstance(recipe.train, LoraConfig)
    add_lora(model, recipe.train)
    values = seeded(5, torch.float32)
    lora = {name: values(name, tuple(p.shape)) for name, p in model.named_parameters() if ".lora_" in name}
    named = {"sha256": release_sha256(base), "path": str(base), "name": "joint"}
    write_release(
        folder,
        components={},
        info=_info(recipe, weights, phase="lora", parents={"base": {**LINEAGE, "sha256": named["sha256"]}}),
        adapter=(adapter_tensors(lora), adapter_json(recipe.train, named["sha256"])),
        base=named,
        weights=codec_places(weights),
    )
    return folder


def _info(recipe: PhaseRecipe, weights: Path | None, **changes: Any) -> dict[str, Any]:
    identities = dict.fromkeys(("audio", *recipe.codecs), "d1" * 32)  # what `info` says of its data needs audio
    for part, path in codec_places(weights).items() if weights is not None and weights.exists() else ():
        config = replace(recipe.codecs[part], weights=path)
        identities[part] = streamed_identity(config, stored, key=f"codecs.{part}")
    values = {"recipe": released_values(recipe), "model": to_dict(recipe.model), "codecs": identities}
    return info(name=recipe.name, **values, **changes)
