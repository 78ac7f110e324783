"""On a real Slurm: MTV's preparation and its first phases, one of them on two nodes and preempted."""

import json

import pytest
from toys import ROOT, Toys, ids, states, wait_for_checkpoint, wait_to_end, with_tiny

from talkies.launch.attempts import read_attempts
from talkies.launch.slurm import run as command

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]
MTV = ROOT / "recipes" / "mtv" / "toy"
FEW = [
    *(f"prepare.sources.{source}.clips=20" for source in ("scenes", "pairs")),
    *(f"prepare.sources.{source}.heldout=8" for source in ("scenes", "pairs")),
    "prepare.fit_clips=8",
    "video_pretraining.steps.max=2",
    "basic_face.parallel={kind: fsdp2, shard: 2, sequence: 2}",
    "basic_face.slurm.nodes=2",
]


def test_a_preempted_phase_of_two_nodes_steers_to_its_end(toys: Toys) -> None:
    """Its sequence is cut in two; the demixer's sets come from an array of jobs."""
    recipe = toys.folder / "mtv.yaml"
    phases = [str(MTV / f"{name}.yaml") for name in ("video_pretraining", "basic_face")]
    words = [*with_tiny("phases.", "phases.steps.max=60"), *FEW]
    whole = {"kind": "curriculum", "name": "mtv", "prepare": str(MTV / "prepare.yaml"), "phases": phases}
    recipe.write_text(json.dumps({**whole, "overrides": words}))
    folder = toys.submit(recipe, toys.site())
    steered = folder / "2-basic_face"
    wait_for_checkpoint(steered)
    command("scancel", "--signal=USR1", ids(folder)[-1])
    assert wait_to_end(folder, seconds=400).restarts == 1
    assert states(folder) == [{"COMPLETED"}] * 5
    assert json.loads((steered / "result.json").read_text())["step"] == 60
    assert len(read_attempts(steered).made) == 2
    stored = {path.name for path in (steered / "checkpoints").rglob("*")}
    assert "generators-00001.safetensors" in stored, "two processes trained it"
