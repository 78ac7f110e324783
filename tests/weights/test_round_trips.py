"""A folder that was imported comes back byte for byte, and a release that was exported tensor for tensor."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from made_folders import diffusers_folder, folder_bytes, mova_folder, wan_folder
from made_releases import adapted, components_of, trained
from safetensors.torch import load_file, save_file

from talkies.checkpoints.release import load_component
from talkies.cli.main import run

MAKERS: dict[str, Callable[..., Path]] = {"mova": mova_folder, "wan": wan_folder, "diffusers": diffusers_folder}
EXPERTS = ("video_high", "video_low")


def talkies(*words: object) -> None:
    assert run([str(word) for word in words]) == 0


def same_tensors(release: Path, other: Path, components: tuple[str, ...]) -> bool:
    pairs = [(load_component(release, name), load_component(other, name)) for name in components]
    return all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) and a[key].dtype == b[key].dtype for key in a)
        for a, b in pairs
    )


@pytest.mark.parametrize("layout", MAKERS)
def test_an_imported_folder_comes_back_byte_for_byte(layout: str, tmp_path: Path) -> None:
    source = MAKERS[layout](tmp_path / "source")
    talkies("import", source, "--out", tmp_path / "release")
    talkies("export", tmp_path / "release", "--layout", layout, "--out", tmp_path / "back")
    assert folder_bytes(tmp_path / "back") == folder_bytes(source)


def _drop(folder: Path) -> tuple[str, ...]:
    path = folder / "video_dit/diffusion_pytorch_model-00003-of-00003.safetensors"
    save_file(load_file(path) | {"foo": torch.zeros(1)}, path, metadata={"format": "pt"})
    _indexed(folder, lambda weight_map: weight_map | {"foo": path.name})
    return "--drop", "foo"


def _rename(folder: Path) -> tuple[str, ...]:
    for path in sorted((folder / "video_dit").glob("*.safetensors")):
        path.rename(path.with_name(f"part{path.name[-22:-20]}.safetensors"))
    _indexed(folder, lambda weight_map: {key: f"part{name[-22:-20]}.safetensors" for key, name in weight_map.items()})
    return ()


def _indexed(folder: Path, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    path = folder / "video_dit/diffusion_pytorch_model.safetensors.index.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({"weight_map": change(values["weight_map"])}))  # without the size, which changes


@pytest.mark.parametrize("changed", [_drop, _rename])
def test_an_index_fits_the_files_that_are_written(changed: Callable[[Path], tuple[str, ...]], tmp_path: Path) -> None:
    """Where the one that was imported would not."""
    source = mova_folder(tmp_path / "source")
    talkies("import", source, "--out", tmp_path / "release", *changed(source))
    talkies("export", tmp_path / "release", "--layout", "mova", "--out", tmp_path / "back")
    talkies("import", tmp_path / "back", "--out", tmp_path / "again")
    assert same_tensors(tmp_path / "release", tmp_path / "again", tuple(components_of()))


@pytest.mark.parametrize("layout", MAKERS)
def test_an_exported_release_comes_back_tensor_for_tensor(layout: str, tmp_path: Path) -> None:
    folder = mova_folder(tmp_path / "mova")
    release = trained(tmp_path / "release", folder)
    components = tuple(components_of()) if layout == "mova" else EXPERTS
    options = ("--components", ",".join(components), "--shard-size", "60KB")
    talkies("export", release, "--layout", layout, "--out", tmp_path / "out", *options)
    talkies("import", tmp_path / "out", "--out", tmp_path / "again")
    assert same_tensors(release, tmp_path / "again", components)
    talkies("export", tmp_path / "again", "--layout", layout, "--out", tmp_path / "back")
    assert folder_bytes(tmp_path / "back") == folder_bytes(tmp_path / "out")


def test_towers_change_their_layout_and_come_back(tmp_path: Path) -> None:
    source = wan_folder(tmp_path / "source")
    talkies("import", source, "--out", tmp_path / "release")
    talkies("export", tmp_path / "release", "--layout", "diffusers", "--out", tmp_path / "theirs")
    talkies("import", tmp_path / "theirs", "--out", tmp_path / "again")
    assert same_tensors(tmp_path / "release", tmp_path / "again", EXPERTS)


def test_a_part_of_an_imported_folder_comes_back_as_it_was(tmp_path: Path) -> None:
    source = mova_folder(tmp_path / "source")
    talkies("import", source, "--out", tmp_path / "release")
    options = ("--components", "audio", "--no-codecs")
    talkies("export", tmp_path / "release", "--layout", "mova", "--out", tmp_path / "back", *options)
    found, files = folder_bytes(tmp_path / "back"), folder_bytes(source)
    assert {name for name in found if found[name] != files[name]} == {"model_index.json"}
    assert {name.split("/")[0] for name in found} == {"audio_dit", "scheduler", "model_index.json"}
    parts = {key for key, part in json.loads(found["model_index.json"]).items() if isinstance(part, list)}
    assert parts == {"audio_dit", "scheduler"}


def test_an_adapter_apart_leaves_an_imported_base_as_it_was(tmp_path: Path) -> None:
    source = mova_folder(tmp_path / "source")
    talkies("import", source, "--out", tmp_path / "release")
    adapter = adapted(tmp_path / "adapter", tmp_path / "release", source)
    talkies("export", adapter, "--layout", "mova", "--out", tmp_path / "apart", "--apart")
    found = folder_bytes(tmp_path / "apart")
    assert {name: data for name, data in found.items() if not name.startswith("adapter/")} == folder_bytes(source)
    assert len([name for name in found if name.startswith("adapter/")]) == 8
    talkies("export", adapter, "--layout", "mova", "--out", tmp_path / "merged", "--merge")
    merged = folder_bytes(tmp_path / "merged")
    assert merged.keys() == folder_bytes(source).keys()
    changed = {name.split("/")[0] for name, data in folder_bytes(source).items() if merged[name] != data}
    assert changed - {"scheduler"} == {
        "video_dit",
        "video_dit_2",
        "audio_dit",
        "dual_tower_bridge",
        "model_index.json",
    }


def test_only_what_a_release_lists_is_exported(tmp_path: Path) -> None:
    """Also a file in a folder of a codec's folder; not one that somebody left among the small files."""
    source = mova_folder(tmp_path / "source")
    (source / "tokenizer" / "more").mkdir()
    (source / "tokenizer" / "more" / "words.txt").write_text("a")
    talkies("import", source, "--out", tmp_path / "release")
    for name in ("notes.txt", "video_dit/notes.txt"):
        (tmp_path / "release" / "origin" / name).write_text("mine")
    talkies("export", tmp_path / "release", "--layout", "mova", "--out", tmp_path / "back")
    assert folder_bytes(tmp_path / "back") == folder_bytes(source)
