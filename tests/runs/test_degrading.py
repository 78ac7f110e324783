"""References that are degraded in training: alike after a resume, on any layout, in any batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from voice_data import PHASE, recipe, trained, voice_root

import talkies.runs.degrading
from talkies.codecs.load import load_codecs
from talkies.config import DataError, RecipeError
from talkies.data.collate import collate
from talkies.data.shards import ShardSet
from talkies.generate.model import Generator
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import world_of
from talkies.recipe.check import check
from talkies.recipe.components import codecs_read, parts
from talkies.recipe.config import PhaseRecipe
from talkies.runs.building import build_model
from talkies.runs.degrading import degraded_references, degrading
from talkies.runs.run_phase import InterruptedRunError
from talkies.runs.train import make_data, make_phase
from talkies.runs.validation import batches
from talkies.streams.batch import Batch
from talkies.training.degrading import Degrading

Seen = dict[str, Tensor]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return voice_root(tmp_path_factory.mktemp("voices"))


@pytest.fixture(scope="module")
def shards(data: Path) -> ShardSet:
    return ShardSet.open(data / "sets" / "train")


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Seen]:
    """An uninterrupted run, and the references that it trained on."""
    with Recording() as seen:
        return trained(data, tmp_path_factory.mktemp("whole") / "0001", recipe()), seen


class Recording:
    """Within the block, the references that steps train on, by "id/visit"."""

    def __enter__(self) -> Seen:
        seen: Seen = {}

        class Noted(Degrading):
            def __call__(self, batch: Batch) -> Batch:
                found = super().__call__(batch)
                named = zip(batch.ids, batch.visits, found.streams["reference"].latent, strict=True)
                seen.update({f"{clip}/{visit}": latent.clone() for clip, visit, latent in named})
                return found

        self.before, talkies.runs.degrading.Degrading = talkies.runs.degrading.Degrading, Noted  # type: ignore[misc]
        return seen

    def __exit__(self, *_: object) -> None:
        talkies.runs.degrading.Degrading = self.before  # type: ignore[misc]


def batch_of(shards: ShardSet, *rows: int, visits: list[int] | None = None) -> Batch:
    return collate([shards.read(i) for i in rows], visits or [0] * len(rows), shards.null_texts)


def weights(run: Path) -> dict[str, Tensor]:
    files = sorted((run / "release").glob("*.safetensors"))
    return {f"{path.stem}.{name}": x for path in files for name, x in load_file(path).items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_share_of_the_references_is_degraded_and_nothing_else(data: Path, shards: ShardSet) -> None:
    batch = batch_of(shards, *range(11))
    found = degrading(recipe(), data / "codecs")(batch)
    assert found.streams.keys() == {"sound", "reference"}, "the network does not read the samples"
    before, after = batch.streams["reference"], found.streams["reference"]
    changed = [i for i in range(11) if not torch.equal(before.latent[i], after.latent[i])]
    assert 2 <= len(changed) <= 9
    assert torch.equal(before.valid, after.valid)
    assert before.start is not None
    assert after.start is before.start
    assert found.streams["sound"] is batch.streams["sound"]
    assert found.texts is batch.texts


def test_each_is_the_same_in_every_batch_and_order(data: Path, shards: ShardSet) -> None:
    make = degrading(recipe(), data / "codecs")
    alone = {i: make(batch_of(shards, i)).streams["reference"].latent[0] for i in range(8)}
    for rows in ((0, 1, 2, 3), (7, 3, 5), (6, 2, 1, 0, 4)):
        found = make(batch_of(shards, *rows)).streams["reference"].latent
        assert all(torch.equal(latent, alone[i]) for i, latent in zip(rows, found, strict=True))


def test_what_is_not_spoilt_is_encoded_as_it_is_stored(data: Path, shards: ShardSet) -> None:
    """So a degraded reference differs from a stored one by its sound alone: the same codec, steps and padding."""
    loud = {"degraded": 1.0, "degradation": {"noise": 1.0, "reverberation": 0.0, "band": 0.0, "snr_db": [100, 100]}}
    batch = batch_of(shards, *range(6))
    stored, found = (x.streams["reference"] for x in (batch, degrading(recipe(phase=loud), data / "codecs")(batch)))
    assert stored.mask is not None, "some are padded"
    valid = stored.valid[:, None].expand_as(stored.latent)
    assert float((stored.latent - found.latent)[valid].abs().max()) < 0.02
    harsh = {"degraded": 1.0, "degradation": loud["degradation"] | {"snr_db": [0, 0]}}  # type: ignore[operator]
    spoilt = degrading(recipe(phase=harsh), data / "codecs")(batch).streams["reference"].latent
    assert all(float((a - b).abs().max()) > 0.3 for a, b in zip(stored.latent, spoilt, strict=True))


def test_a_step_that_is_repeated_has_the_same_loss(data: Path, shards: ShardSet) -> None:
    """As when a spike is looked at again: ids and visits are all that it takes."""
    phase = recipe()
    made = make_phase(phase, lambda: build_model(phase, {}), codecs=data / "codecs")
    made.configure_model()
    found = [made.training_step(batch_of(shards, 0, 3, 5, visits=[2, 0, 1]), 0) for _ in range(2)]
    assert torch.equal(found[0]["loss"], found[1]["loss"])  # type: ignore[arg-type]
    clean = recipe(phase={"degraded": 0.0})
    other = make_phase(clean, lambda: made.model)
    other.configure_model()
    assert not torch.equal(
        other.training_step(batch_of(shards, 0, 3, 5, visits=[2, 0, 1]), 0)["loss"], found[0]["loss"]
    )  # type: ignore[arg-type]


def test_codecs_are_no_part_of_the_phase(data: Path) -> None:
    phase = recipe()
    made = make_phase(phase, lambda: build_model(phase, {}), codecs=data / "codecs")
    made.configure_model()
    clean = make_phase(recipe(phase={"degraded": 0.0}), lambda: build_model(phase, {}))
    clean.configure_model()
    made.objective.degrading.open(torch.device("cpu"))  # type: ignore[union-attr]
    assert made.state_dict().keys() == clean.state_dict().keys()


def test_a_step_stays_on_its_device_and_reads_nothing_back(data: Path, shards: ShardSet) -> None:
    """The meta device has no numbers, so that reading one is an error."""
    phase = recipe(phase={"degraded": 1.0})
    made = make_phase(phase, lambda: build_model(phase, {}).to("meta"), codecs=data / "codecs")
    made.configure_model()
    loss = made.training_step(batch_of(shards, 0, 1, 2).to("meta"), 0)["loss"]
    assert isinstance(loss, torch.Tensor)
    assert loss.device.type == "meta"


def test_under_autocast_references_are_encoded_in_fp32(data: Path, shards: ShardSet) -> None:
    make, batch = degrading(recipe(phase={"degraded": 1.0}), data / "codecs"), batch_of(shards, 0, 1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        low = make(batch).streams["reference"].latent
    assert torch.equal(low, make(batch).streams["reference"].latent)
    assert not low.requires_grad


def test_degraded_0_reads_and_draws_nothing(data: Path, shards: ShardSet) -> None:
    clean = recipe(phase={"degraded": 0.0})
    assert parts(clean).read == ("sound", "reference")
    assert parts(recipe()).read == ("sound", "reference", "voice")
    assert make_data(clean, shards).streams == ("sound", "reference")
    assert make_phase(clean, torch.nn.Identity, codecs=data / "codecs").objective.degrading is None


@pytest.mark.slow
def test_degraded_0_trains_as_if_there_were_no_samples(data: Path, tmp_path: Path) -> None:
    clean = recipe(phase={"degraded": 0.0})
    without = recipe(phase={"degraded": 0.0}, codecs={k: v for k, v in PHASE["codecs"].items() if k != "voice"})
    runs = [trained(data, tmp_path / name / "0001", one) for name, one in (("with", clean), ("without", without))]
    assert same(*(weights(run) for run in runs))


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(data: Path, whole: tuple[Path, Seen], tmp_path: Path) -> None:
    run, seen = whole
    with Recording() as again:
        with pytest.raises(InterruptedRunError):
            trained(data, tmp_path / "0001", recipe(), stop_at=2)
        resumed = trained(data, tmp_path / "0001", recipe())
    assert same(again, seen)
    assert all(name.startswith("train-") for name in seen), "held-out losses are those of references as they are"
    assert same(weights(resumed), weights(run))
    clean = trained(data, tmp_path / "clean" / "0001", recipe(phase={"degraded": 0.0}))
    assert not same(weights(clean), weights(run))


@pytest.mark.slow
def test_accumulated_steps_see_the_same_references(data: Path, whole: tuple[Path, Seen], tmp_path: Path) -> None:
    steps = {"max": 4, "global_batch": 4, "accumulate": 2, "checkpoint_every": 2, "log_every": 2}
    with Recording() as seen:
        trained(data, tmp_path / "0001", recipe(steps=steps))
    assert same(seen, whole[1])


def test_the_arm_for_tuning_is_a_function_of_the_clip_alone(data: Path) -> None:
    heldout = ShardSet.open(data / "sets" / "heldout")
    [batch] = batches(heldout, 4, parts(recipe()).held_out)
    model = generator(data, heldout, recipe())
    found = degraded_references(batch, model)
    before, after = batch.streams["reference"].latent, found.streams["reference"].latent
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert found.visits == batch.visits
    again = batch_of(heldout, 2, 0, visits=[5, 9])
    other = degraded_references(again, generator(data, heldout, recipe(seed=9, phase={"degraded": 0.1})))
    assert torch.equal(other.streams["reference"].latent, after[[2, 0]])
    clean = generator(data, heldout, recipe(phase={"degraded": 0.0}))
    assert degraded_references(batch, clean).streams["reference"] is batch.streams["reference"]


def generator(data: Path, heldout: ShardSet, phase: PhaseRecipe) -> Generator:
    names = codecs_read(phase)
    return Generator(
        denoiser=build_model(phase, {}), codecs=load_codecs(phase.codecs, data / "codecs", names=names),
        system=phase.system, setup=phase, grids={name: heldout.grids[name] for name in parts(phase).streams},
        fps=heldout.fps,
    )  # fmt: skip


def test_samples_that_another_codec_stored_are_refused(data: Path, tmp_path: Path) -> None:
    gone = tmp_path / "data"
    gone.mkdir()
    (gone / "codecs").symlink_to(data / "codecs")
    phase = recipe(codecs={**PHASE["codecs"], "voice": {"kind": "waveform", "hop": 320}})
    (gone / "sets").symlink_to(data / "sets")
    with pytest.raises(DataError, match="was encoded with voice codec"):
        trained(gone, tmp_path / "run" / "0001", phase)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phase": {"degradation": {"cutoff_hz": [3000, 9000]}}}, r"`phase\.degradation\.cutoff_hz` ends at 9000 Hz"),
        ({"phase": {"degradation": {"wet": [1, 0.5]}}}, r"`phase\.degradation\.wet` is \[1, 0\.5\]"),
        (
            {"phase": {"degraded": 0.0, "degradation": {"band": 0.5}}},
            r"`phase\.degradation` is set, but `phase\.degraded` is 0",
        ),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check(recipe(**changes))


def on_rank(data: str, folder: str) -> Seen:
    """The references of one of two processes."""
    with Recording() as seen:
        ranks = Ranks(world_of())
        trained(Path(data), Path(folder), recipe(parallel={"kind": "ddp", "replicate": 2}), ranks=ranks)
    return seen


@pytest.mark.ranks
@pytest.mark.timeout(600)
def test_two_ranks_have_what_one_process_has(data: Path, whole: tuple[Path, Seen], tmp_path: Path) -> None:
    from ranks import on_ranks

    first, second = on_ranks(tmp_path, 2, on_rank, str(data), str(tmp_path / "run" / "0001"))
    assert not first.keys() & second.keys()
    assert same(first | second, whole[1])
    expected = weights(whole[0])
    for name, value in weights(tmp_path / "run" / "0001").items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-4)
