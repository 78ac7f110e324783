"""A state is restored bitwise and strictly, and nothing is unpickled before it is verified."""

import json
import multiprocessing
import pickle
import re
import resource
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from pydantic import Field
from small_store import loop_of
from torch import Tensor, nn
from torch.distributed.checkpoint.metadata import BytesStorageMetadata

from talkies.checkpoints import manifest, names
from talkies.checkpoints.loop import read_loop
from talkies.checkpoints.manifest import MANIFEST, ManifestRecord, write_manifest
from talkies.checkpoints.state import State, load_ema, load_state, open_ema, save_state, stored_ema
from talkies.checkpoints.store import CheckpointStore
from talkies.checkpoints.tensors import save_tensors
from talkies.config import CheckpointError, StorageError
from talkies.config.plain_json import json_sha256
from talkies.config.records import record


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
        assert bits(found[name]) == bits(value), name


def state_of(seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    model = {
        "video.w": draw(6, 4),
        "video.t": draw(4, 3).t(),  # not contiguous
        "video.part": draw(8, 8)[2:4, 1:3],  # a view of something larger
        "bridge.b": draw(5).bfloat16(),
        "bridge.ids": torch.arange(3, dtype=torch.int64) * 2**40,
        "bridge.empty": torch.zeros(0, 3),
    }
    model["video.w"][0] = torch.tensor([float("nan"), -0.0, float("inf"), 1e-42])
    optimizer = {
        "video.w/exp_avg": draw(6, 4),
        "video.w/exp_avg_sq": draw(6, 4).square(),
        "video.w/step": torch.tensor(7.0),
        "bridge.b/exp_avg": draw(5).bfloat16(),
    }
    return {
        "model": model,
        "optimizer": optimizer,
        "ema": {name: value.float().clone() for name, value in model.items()},
        "loop": loop_of(),
        "generators": {"torch": generator.get_state()},
    }


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path)


def saved(store: CheckpointStore, state: Mapping[str, Any], step: int = 7) -> Path:
    return store.save(step, lambda folder: save_state(folder, **state))


def load(folder: Path, state: Mapping[str, Any]) -> State:
    return load_state(folder, model=state["model"], ema=state["ema"])


def test_round_trip_is_bitwise(store: CheckpointStore) -> None:
    state = state_of()
    found = load(saved(store, state), state)
    for part in ("model", "optimizer", "ema", "generators"):
        assert_same(getattr(found, part), state[part])
    assert found.loop == state["loop"]
    generator = torch.Generator()
    generator.set_state(found.generators["torch"])
    expected = torch.Generator()
    expected.set_state(state["generators"]["torch"])
    assert torch.equal(torch.randn(4, generator=generator), torch.randn(4, generator=expected))


def test_parts_can_be_read_alone(store: CheckpointStore) -> None:
    state = state_of()
    folder = saved(store, state)
    assert_same(load_ema(folder, state["model"]), state["ema"])
    (folder / "shards" / "__0_0.distcp").unlink()
    assert read_loop(folder) == state["loop"]
    with pytest.raises(CheckpointError, match=r"__0_0\.distcp is missing"):
        load_ema(folder, state["model"])


def test_names_of_an_older_schema_are_migrated(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of parameters, moments and EMA, whether all or only the EMA is read."""
    before = state_of()
    folder = saved(store, before)
    monkeypatch.setattr(names, "RENAMES", (lambda path: path.replace("video.", "towers.video."),))
    now = {**before, **{part: {} for part in ("model", "ema", "optimizer")}}
    for part in ("model", "ema", "optimizer"):
        now[part] = {name.replace("video.", "towers.video."): value for name, value in before[part].items()}
    assert now["model"].keys() != before["model"].keys()
    found = load(folder, now)
    for part in ("model", "ema", "optimizer"):
        assert_same(getattr(found, part), now[part])
    assert_same(load_ema(folder, now["model"]), now["ema"])
    assert stored_ema(folder).keys() == now["ema"].keys()
    read = open_ema(folder)
    assert_same({name: read(name) for name in now["ema"]}, now["ema"])


@record
class Grown(ManifestRecord):
    """Of schema 2, in which `at` is called `step`."""

    schema: Annotated[int, Field(ge=2, le=2)]


def test_the_manifest_and_the_names_have_their_own_schemas(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest of the first schema has no number for the names."""
    state = state_of()
    folder = saved(store, state)
    values = json.loads((folder / MANIFEST).read_text())
    values = {"at" if key == "step" else key: values[key] for key in ("schema", "step", "files")}
    (folder / MANIFEST).write_text(json.dumps({**values, "sha256": json_sha256(values)}))
    step = lambda values: {"step" if key == "at" else key: value for key, value in values.items()}  # noqa: E731
    monkeypatch.setattr(manifest, "RECORD", replace(manifest.RECORD, holds=Grown, migrations=(step,)))
    monkeypatch.setattr(names, "RENAMES", (lambda path: path.replace("video.", "towers.video."),))
    now = {name.replace("video.", "towers.video."): value for name, value in state["ema"].items()}
    assert_same(load_ema(folder, now), now)
    write_manifest(folder, 4)
    written = json.loads((folder / MANIFEST).read_text())
    assert (written["schema"], written["names_schema"]) == (2, 2)


def test_a_view_is_saved_without_its_base_tensor(store: CheckpointStore) -> None:
    state = state_of()
    state["model"] = {"part": torch.zeros(1000, 1000)[:2, :2]}
    state["ema"] = state["optimizer"] = {}
    assert sum(path.stat().st_size for path in saved(store, state).rglob("*") if path.is_file()) < 50_000


def edited(name: str, value: Tensor | None) -> Callable[[dict[str, Any]], None]:
    def change(state: dict[str, Any]) -> None:
        part, _, key = name.partition("/")
        state[part].pop(key, None)
        if value is not None:
            state[part][key] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edited("model/extra", torch.zeros(2)), r"model: missing extra \(1 in all\)"),
        (edited("model/video.w", None), r"model: unexpected video\.w \(1 in all\)"),
        (edited("model/video.w", torch.zeros(6, 5)), r"model: video\.w is float32 \(6, 4\), not float32 \(6, 5\)"),
        (edited("model/bridge.b", torch.zeros(5)), r"model: bridge\.b is bfloat16 \(5,\), not float32 \(5,\)"),
        (edited("ema/video.w", torch.zeros(2)), r"ema: video\.w is float32 \(6, 4\), not float32 \(2,\)"),
    ],
)
def test_another_architecture_is_refused(
    store: CheckpointStore, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    folder, other = saved(store, state_of()), state_of()
    change(other)
    with pytest.raises(CheckpointError, match="is of another architecture: " + message):
        load(folder, other)


@pytest.mark.parametrize("key", ["gone/exp_avg", "video.w/exp_avg"])
def test_optimizer_state_of_another_architecture_is_refused(store: CheckpointStore, key: str) -> None:
    state = state_of()
    state["optimizer"][key] = torch.zeros(9)
    with pytest.raises(CheckpointError, match=rf"optimizer: {key} is float32 \(9,\), the model has"):
        load(saved(store, state), state)


def test_ema_of_another_architecture_is_refused(store: CheckpointStore) -> None:
    folder = saved(store, state_of())
    with pytest.raises(
        CheckpointError, match=r"another architecture: ema: missing other \(1 in all\); unexpected video"
    ):
        load_ema(folder, {"other": torch.zeros(1)})


# Trust.


class Malicious:
    """Unpickling this makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.marker,)


@pytest.mark.fault("s1", "malicious pickle", injected="a payload as a checkpoint's index")
def test_changed_metadata_is_never_unpickled(
    store: CheckpointStore, tmp_path: Path, record_outcome: Callable[..., None]
) -> None:
    state, marker = state_of(), tmp_path / "marker"
    folder = saved(store, state)
    (folder / "shards" / ".metadata").write_bytes(pickle.dumps(Malicious(marker)))
    pickle.loads(pickle.dumps(Malicious(marker)))
    assert marker.exists()  # the payload works
    marker.unlink()
    with pytest.raises(CheckpointError, match=r"shards/\.metadata is (truncated|damaged)"):
        load(folder, state)
    assert not marker.exists()
    record_outcome("refused by its hash")


def test_flipped_byte_is_named(store: CheckpointStore) -> None:
    state = state_of()
    folder = saved(store, state)
    for name in ("shards/.metadata", "shards/__0_0.distcp", "loop.json", "generators.safetensors"):
        original = (folder / name).read_bytes()
        data = bytearray(original)
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
        with pytest.raises(CheckpointError, match=re.escape(f"{name} is damaged: found sha256")):
            load(folder, state)
        (folder / name).write_bytes(original)
    load(folder, state)


def forged(folder: Path, metadata: bytes) -> None:
    """A forgery by somebody who also rewrites the manifest."""
    (folder / "shards" / ".metadata").write_bytes(metadata)
    (folder / MANIFEST).unlink()
    write_manifest(folder, 7)


@pytest.mark.fault("s1", "malicious pickle", injected="a payload as a checkpoint's index, and a new manifest")
def test_forged_checkpoint_runs_no_code(
    store: CheckpointStore, tmp_path: Path, record_outcome: Callable[..., None]
) -> None:
    state, marker = state_of(), tmp_path / "marker"
    folder = saved(store, state)
    index = pickle.loads((folder / "shards" / ".metadata").read_bytes())
    index.planner_data = Malicious(marker)
    for payload in (pickle.dumps(index), pickle.dumps(Malicious(marker))):
        forged(folder, payload)
        with pytest.raises(CheckpointError, match=r"asks for \S+: refusing to unpickle it"):
            load(folder, state)
    assert not marker.exists()
    forged(folder, b"no pickle at all")
    with pytest.raises(CheckpointError, match="is not an index"):
        load(folder, state)
    forged(folder, pickle.dumps(torch.Size([1])))
    with pytest.raises(CheckpointError, match="is not an index"):
        load(folder, state)
    record_outcome("refused, no code runs")


def test_forged_index_with_foreign_parts_is_refused(store: CheckpointStore) -> None:
    state = state_of()
    folder = saved(store, state)
    original = (folder / "shards" / ".metadata").read_bytes()

    index = pickle.loads(original)
    next(iter(index.storage_data.values())).relative_path = "../../elsewhere"
    forged(folder, pickle.dumps(index))
    with pytest.raises(CheckpointError, match=r"keeps tensors in \.\./\.\./elsewhere, which is not verified"):
        load(folder, state)

    index = pickle.loads(original)
    index.state_dict_metadata["model/video.w"] = BytesStorageMetadata()
    forged(folder, pickle.dumps(index))
    with pytest.raises(CheckpointError, match=r"refusing to unpickle it|BytesStorageMetadata"):
        load(folder, state)


def test_incomplete_state_is_refused(store: CheckpointStore) -> None:
    state = state_of()
    folder = store.save(1, lambda target: (target / "loop.json").write_text("{}") and None)
    with pytest.raises(CheckpointError, match=r"has no generators\.safetensors: its manifest does not list it"):
        load(folder, state)


def test_foreign_part_is_refused(store: CheckpointStore) -> None:
    state = state_of()

    def writer(folder: Path) -> None:
        save_state(folder, **state)
        shutil.rmtree(folder / "shards")
        save_tensors(folder / "shards", {"other/x": torch.zeros(1)})

    with pytest.raises(CheckpointError, match="holds 'other/x', which does not belong to a state"):
        load(store.save(1, writer), state)


# The disk.


@pytest.mark.fault("10", "disk full on checkpoint", injected="RLIMIT_FSIZE in a child process")
def test_full_disk_names_path_and_bytes_and_keeps_the_last_checkpoint(
    store: CheckpointStore, record_outcome: Callable[..., None]
) -> None:
    small, large = state_of(), state_of()
    large["model"]["video.w"] = torch.zeros(1000, 1000)
    small["loop"] = loop_of(1)
    first = saved(store, small, step=1)
    context = multiprocessing.get_context("fork")
    messages = context.SimpleQueue()

    def save_too_much() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            saved(store, large, step=7)
        except StorageError as error:
            messages.put(str(error))

    child = context.Process(target=save_too_much)
    child.start()
    child.join(200)
    assert child.exitcode == 0
    assert not messages.empty()
    found = re.search(r"step-00000007\.tmp: File too large; (\d+) bytes are needed, \d+ are free", messages.get())
    assert found is not None
    assert int(found[1]) == sum(t.nbytes for part in ("model", "optimizer", "ema") for t in large[part].values())
    assert sorted(path.name for path in store.folder.iterdir()) == ["LATEST", "step-00000001"]
    assert store.latest() == first
    assert_same(load(first, small).model, small["model"])
    record_outcome("a line with path and bytes; the checkpoint before is intact, no file is left over")


# Resuming.


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    """Losses of `steps` steps whose data and dropout come from torch's global generator."""
    losses = []
    for _ in range(steps):
        loss = (model(torch.randn(8, 4)) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def built() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    return model, torch.optim.AdamW(model.parameters(), lr=0.05)


def test_resumed_training_is_bitwise_the_same(store: CheckpointStore) -> None:
    model, optimizer = built()
    expected = train(model, optimizer, 10)
    whole = {name: value.clone() for name, value in model.state_dict().items()}

    model, optimizer = built()
    named = dict(model.named_parameters())
    first = train(model, optimizer, 5)
    moments = {f"{name}/{key}": value for name, p in named.items() for key, value in optimizer.state[p].items()}
    loop = loop_of()
    generators = {"torch": torch.get_rng_state()}
    state = {"model": named, "optimizer": moments, "ema": {}, "loop": loop, "generators": generators}
    folder = saved(store, state)

    model, optimizer = built()
    named = dict(model.named_parameters())
    found = load_state(folder, model=named, ema={})
    model.load_state_dict(found.model)
    for name, parameter in named.items():
        for key in ("step", "exp_avg", "exp_avg_sq"):
            optimizer.state[parameter][key] = found.optimizer[f"{name}/{key}"]
    torch.set_rng_state(found.generators["torch"])
    assert first + train(model, optimizer, 5) == expected
    assert_same(model.state_dict(), whole)


def test_loop_must_be_plain_json(store: CheckpointStore) -> None:
    state = state_of()
    state["loop"] = {"loss": float("nan")}
    with pytest.raises(ValueError, match="not JSON compliant"):
        saved(store, state)
    assert json.loads((saved(store, state_of()) / "loop.json").read_text())["step"] == 7
