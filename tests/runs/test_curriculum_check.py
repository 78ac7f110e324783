"""The recipes of a curriculum are checked for all its phases before anything is made."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from talkies.config import StorageError, UserError
from talkies.models.systems import SYSTEMS
from talkies.planning.render import size
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.curriculum import load_curriculum
from talkies.runs.curriculum_check import check_recipes
from talkies.runs.disk_space import check_disk_space_for_all, space_needed
from talkies.runs.run_curriculum import phase_folders

CURRICULUM = Path(__file__).parents[2] / "recipes" / "mova" / "toy" / "curriculum.yaml"
CASES = {
    "final clips": (
        ["prepare.sources.masks.heldout=8", "phases.validation.clips=8"],
        2,
        "phase 'lora': recipe: `validation.final_clips` is 64, but set 'masks_heldout' will have at most 8 clips: "
        "lower it, or hold out more",
    ),
    "clips": (
        ["prepare.sources.faces_high.heldout=8"],
        2,
        "phase 'high_resolution': recipe: `validation.clips` is 32, but set 'high_heldout' will have at most 8",
    ),
    "samples": (
        ["prepare.sources.faces.heldout=1", "phases.validation.clips=1"],
        2,
        "`validation.samples` is 2, but set 'low_heldout' will have at most 1",
    ),
    "no such set": (
        ["lora.data.shards=mask"],
        2,
        "phase 'lora': recipe: `data.shards` is 'mask', which the preparation 'mova-toy' does not make; did you mean "
        "'masks'? its sets: low, ",
    ),
    "no such held-out set": (["lora.data.heldout=held"], 2, "phase 'lora': recipe: `data.heldout` is 'held', which"),
    "seconds": (
        ["audio_pretraining.data.geometry=2.50s"],
        2,
        "phase 'audio_pretraining': recipe: set 'voices' of the preparation (`data.shards`) has geometry "
        "32x32x25@12.5, the phase expects 2.5s: set",
    ),
    "seconds of pictures": (
        ["high_resolution.data.geometry=2s"],
        2,
        "recipe: `data.geometry` 2s: seconds are for sound alone, but there are pictures",
    ),
    "geometry": (
        ["high_resolution.data.geometry=32x32x25@12.5"],
        2,
        "phase 'high_resolution': recipe: set 'high' of the preparation (`data.shards`) has geometry 64x64x25@12.5, "
        "the phase expects 32x32x25@12.5",
    ),
    "modality": (
        ["joint_phase2.data.shards=voices"],
        2,
        "phase 'joint_phase2': recipe: set 'voices' of the preparation (`data.shards`) keeps no video, only audio",
    ),
    "codec": (
        ["joint_phase2.codecs.text.length=12"],
        2,
        "phase 'joint_phase2': recipe: `codecs.text.length` is 12, the preparation 'mova-toy' has 24",
    ),
    "codec's kind": (["prepare.codecs.audio.hop=320"], 2, "`codecs.audio.hop` is 1280, the preparation"),
    "parent without the tower": (
        ["joint_phase1.parents.video=audio_pretraining"],
        65,
        "phase 'joint_phase1': parent: 'audio_pretraining' has no video_high, only audio",
    ),
    "adapter as a parent": (
        ["high_resolution.train={kind: lora, rank: 2, alpha: 2}"],
        65,
        "phase 'lora': parent: 'high_resolution' is a LoRA adapter, which no phase can start from",
    ),
    "nothing to register": (
        ["lora.tracking.register=null"],
        2,
        "`promote` is 'lora', but that phase names no registered model: set lora.tracking.register=NAME",
    ),
    "two stores": (
        ["lora.tracking.uri=http://localhost:5000"],
        2,
        "their `tracking.uri` are: video_pretraining null, ",
    ),
    "unknown metric": (
        ["lora.tracking.gates=[{metric: evaluation/synch, op: '>=', value: 0.3}]"],
        2,
        "`tracking.gates.0.metric` is 'evaluation/synch', which joint phases of `data.geometry` 64x64x25@12.5 do "
        "not measure; did you mean evaluation/sync?",
    ),
    "metric of another modality": (
        ["audio_pretraining.tracking.gates=[{metric: heldout/video, op: '<=', value: 1}]"],
        2,
        "`tracking.gates.0.metric` is 'heldout/video', which audio_pretraining phases",
    ),
    "metric of a bin beyond": (
        ["lora.tracking.gates=[{metric: heldout/video/bin4, op: '<=', value: 1}]"],
        2,
        "'heldout/video/bin4', which joint phases",
    ),
    "one clip to evaluate": (["lora.validation.final_clips=1"], 2, "`validation.final_clips` is 1, but the evaluation"),
    "alias": (["lora.tracking.alias=latest"], 2, "`tracking.alias` must be"),
    "name": (["lora.tracking.register=a/b"], 2, "`tracking.register` must be"),
    "tracking URI": (["phases.tracking.uri=htp://host"], 2, "`tracking.uri` must be"),
}


@pytest.mark.parametrize("name", CASES)
def test_an_error_of_a_late_phase_is_raised_from_the_recipes(name: str) -> None:
    overrides, code, message = CASES[name]
    with pytest.raises(UserError) as caught:
        check_recipes(load_curriculum(CURRICULUM, overrides, systems=SYSTEMS))
    assert message in str(caught.value)
    assert caught.value.exit_code == code


def test_the_toy_itself_passes_and_finished_phases_are_not_checked() -> None:
    check_recipes(load_curriculum(CURRICULUM, systems=SYSTEMS))
    few = load_curriculum(CURRICULUM, ["prepare.sources.masks.heldout=8", "phases.validation.clips=8"], systems=SYSTEMS)
    check_recipes(few, done={"lora"})


def test_disk_space_is_checked_for_all_phases_at_once(file_system: Callable[[str], Path]) -> None:
    """Each phase alone has enough space; what those before it leave is counted."""
    curriculum = load_curriculum(CURRICULUM, systems=SYSTEMS)

    def wanted(disk: Path) -> dict[Path, PhaseRecipe]:
        folders = phase_folders(curriculum, disk / "x" / "0001")
        return {folders[phase.name]: phase for phase in curriculum.phases}

    needs = [space_needed(recipe, folder) for folder, recipe in wanted(Path("nowhere")).items()]
    final, page = sum(need.final for need in needs[:-1]), os.sysconf("SC_PAGE_SIZE")
    enough = -(-(final + needs[-1].peak) // page) * page
    check_disk_space_for_all(wanted(file_system(f"size={enough}")))
    small = file_system(f"size={enough - page}")
    assert all(need.peak < enough - page for need in needs)
    with pytest.raises(StorageError) as caught:
        check_disk_space_for_all(wanted(small))
    assert re.match(rf"phase 'lora': storage: {small}/x/0001/6-lora has {enough - page} bytes free", str(caught.value))
    assert f"what the phases before it leave ({size(final)})" in str(caught.value)
    assert list(small.iterdir()) == []
