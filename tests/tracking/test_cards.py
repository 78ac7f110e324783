"""Cards hold the facts of the release and the metrics, and MODEL_CARDS.md follows from the cards."""

import argparse
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from test_markdown import NASTY, seen
from tracking_release import info

from talkies.cli.sample import add_arguments
from talkies.config import DataError
from talkies.config.single_line import flat, plain
from talkies.recipe.full_scale import full_scale
from talkies.tracking.card_body import body, brief, main_number
from talkies.tracking.card_metrics import metrics_of
from talkies.tracking.card_text import Card, Sample, card_text, front_matter, parse_card
from talkies.tracking.cards import Shelf, read_card
from talkies.tracking.gates import GateResult

ROOT = Path(__file__).parents[2]
FULL = [("recipes/mova/joint_phase1.yaml", "128 nodes x 8 GPUs")]
PROMPT = "The happy silver mask of the cat"


def card(version: str = "3", *, changed: dict[str, Any] | None = None, **release: Any) -> Card:
    files = {
        "codecs/audio/model.safetensors": {"sha256": "e1" * 32, "size": 9},
        "audio.safetensors": {"sha256": "e2" * 32},
    }
    given: dict[str, Any] = {
        "name": "toy-model",
        "version": version,
        "sha256": "ab" * 32,
        "run_id": "run1",
        "license": "apache-2.0",
        "info": info(components={"audio": {"parameters": 1234567}}, files=files, base=None, **release),
        "metrics": {
            "evaluation/sync": 0.4123,
            "evaluation/sync_reference": 0.9587,
            "evaluation/sync_shuffled": -0.0041,
            "evaluation/lag_ms": 41.02,
            "train/lr": 4.8e-05,
        },
        "gates": [GateResult(metric="evaluation/sync", op=">=", needed=0.35, found=0.4123)],
        "samples": [Sample(prompt=PROMPT, picture=b"JPEG"), Sample(prompt="Another", picture=b"JPEG 2")],
    }
    return Card(**{**given, **(changed or {})})


def put(files: dict[Path, bytes]) -> None:
    for path, data in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def test_the_front_matter_is_what_the_hub_reads() -> None:
    front = front_matter(card(), ["champion"])
    assert (front["license"], front["pipeline_tag"], front["datasets"]) == ("apache-2.0", "image-to-video", ["masks"])
    assert "base_model" not in front
    (model,) = front["model-index"]
    (result,) = model["results"]
    assert result["dataset"]["revision"] == "f2" * 32
    assert {"type": "evaluation/sync", "value": 0.4123} in result["metrics"]
    facts = front["talkies"]
    assert (facts["sha256"], facts["recipe_hash"], facts["commit"]) == ("ab" * 32, "a1" * 32, "c0ffee" * 6)
    assert facts["codecs"] == {"video": "d1" * 32, "audio": "d2" * 32, "text": "d3" * 32} | {
        "codecs/audio/model.safetensors": "e1" * 32
    }


def test_the_front_matter_has_the_main_metrics_and_the_folded_table_has_all(tmp_path: Path) -> None:
    """Main metrics include ceiling, control and gates, but no NaN, which the JSON of the Hub does not have."""
    gates = [GateResult(metric="heldout/video", op="<=", needed=3.0, found=2.5)]
    metrics = {**card().metrics, "heldout/video": 2.5, "heldout/audio": 1 / 3, "evaluation/heldout/audio": float("nan")}
    front = front_matter(card(changed={"gates": gates, "metrics": metrics}), [])
    text = card_text(front)
    head, body = text.split("\n---\n\n")
    types = {entry["type"] for entry in front["model-index"][0]["results"][0]["metrics"]}
    assert types == {
        *(f"evaluation/{name}" for name in ("sync", "sync_reference", "sync_shuffled", "lag_ms")),
        "heldout/video",
    }
    assert "train/lr" not in head
    assert "<summary>Every metric (8)</summary>" in body
    assert "| heldout/audio | 0.333333 |" in body
    assert "| evaluation/heldout/audio | nan |" in body
    assert card_text(parse_card(text)) == text
    assert metrics_of(parse_card(text))["train/lr"] == 4.8e-05


def test_the_hub_library_reads_it() -> None:
    found = ModelCard(card_text(front_matter(card(), ["champion"]))).data
    assert found.model_name == "toy-model"
    results = {result.metric_type: result.metric_value for result in found.eval_results}
    assert results["evaluation/sync"] == 0.4123
    assert len(results) == 4
    for result in found.eval_results:
        assert (result.task_type, result.dataset_name) == ("image-to-video", "masks held out")
        assert result.dataset_revision == "f2" * 32
    assert found.to_dict()["model-index"] == front_matter(card(), [])["model-index"]


@pytest.mark.parametrize("name", [*map(flat, NASTY), "a|b", "a \\| b |"])
def test_a_metric_of_any_name_is_found_again(name: str) -> None:
    text = card_text(front_matter(card(changed={"metrics": {name: 0.25, "other": 1e300}}), []))
    assert metrics_of(parse_card(text)) == {name: 0.25, "other": 1e300}


def test_a_card_of_an_older_version_has_all_in_its_front_matter() -> None:
    front = front_matter(card(), [])
    old = {
        **front,
        "talkies": {key: value for key, value in front["talkies"].items() if key not in ("server", "samples")},
    }
    results = front["model-index"][0]["results"][0]
    every = [{"type": name, "value": value} for name, value in metrics_of(front).items()]
    old["model-index"] = [{"name": "toy-model", "results": [{**results, "metrics": every}]}]
    read = parse_card(f"---\n{yaml.safe_dump(old)}---\n\nAnother body.\n")
    assert read["model-index"] == front["model-index"]
    assert metrics_of(read) == metrics_of(front)


def test_an_adapter_names_its_base() -> None:
    parent = {"name": "joint", "step": 600, "sha256": "77" * 32, "recipe_hash": "b2" * 32}
    adapter = card(parents={"video_high": parent, "audio": parent})
    adapter.info["base"] = {"name": "joint", "sha256": "77" * 32, "path": "/x"}  # type: ignore[index]
    front = front_matter(adapter, [])
    assert (front["base_model"], front["base_model_relation"]) == (["joint"], "adapter")
    text = body(front)
    assert "LoRA adapter of joint, trained for 100 steps" in text
    assert "- audio and video_high of `joint`, step 600" in text
    assert "The release brings its codecs and its base along." in text
    assert f"| audio from joint, sha256 | `{'77' * 32}` |" in text
    sound = card(data={**info()["data"], "grids": {"audio": {}}}, parents={"audio": parent})
    front = front_matter(sound, [])
    assert (front["pipeline_tag"], front["base_model_relation"]) == ("text-to-audio", "finetune")
    assert "A prompt becomes sound." in body(front)
    assert "--image" not in body(front)


def test_a_card_is_readable_and_its_details_are_folded() -> None:
    front = front_matter(card(), ["champion"])
    text = card_text(front)
    assert parse_card(text) == front
    assert text.split("---\n\n", 1)[1] == body(parse_card(text))
    read, folded = body(front).split("<details>", 1)
    for part in (
        "# toy-model version 3 (champion)",
        "2.08 s of video (64 x 64 pixels, 12 frames per second) with sound",
        "Joint model, 1.23 million parameters, trained for 100 steps, ema weights.",
        f"![{PROMPT}](version-0003/sample-00.jpg)\n\n> {PROMPT}",
        f"talkies sample models:/toy-model/3 --prompt '{PROMPT}' --out sample.mp4",
        "| higher | **0.412** | 0.959 | -0.0041 | &gt;= 0.35: passed |",
        "| nearer to 0 | **41** | 0 |  |  |",
        "- 96 clips of the set `masks` (`64x64x25@12`)",
        "- no parents: random initial weights",
        "## License\n\napache-2.0",
    ):
        assert part in read, part
    for part in ("| train/lr | 4.8e-05 |", f"`{'a1' * 32}`", f"`{'f1' * 32}`", f"| codec audio | `{'d2' * 32}` |"):
        assert part in folded, part
        assert part not in read
    short = brief(front, stored="get?path=cards/")
    assert f"![{PROMPT}](get?path=cards/version-0003/sample-00.jpg)" in short
    assert "<details>" not in short
    assert "| higher | **0.412** |" in short


def test_sync_is_left_out_if_real_clips_have_none() -> None:
    metrics = {
        "evaluation/sync": 0.0204,
        "evaluation/sync_reference": -0.0391,
        "evaluation/lag_ms": -90.0,
        "evaluation/frechet_video": 51.8,
    }
    front = front_matter(card(changed={"metrics": metrics, "gates": []}), [])
    read, folded = body(front).split("<details>", 1)
    assert "Synchronisation:" not in read
    assert "Lag" not in read
    assert "real clips of this set hardly do" in read
    entries = front["model-index"][0]["results"][0]["metrics"]
    assert [entry["type"] for entry in entries] == ["evaluation/frechet_video"], "what the Hub shows first"
    assert "| evaluation/sync | 0.0204 |" in folded
    assert "| evaluation/sync | 0.0204 |" in folded
    assert main_number(front).startswith("frechet_video 51.8")
    gate = GateResult(metric="evaluation/sync", op=">=", needed=0.0, found=0.0204)
    assert "| &gt;= 0: passed |" in body(front_matter(card(changed={"metrics": metrics, "gates": [gate]}), []))


@pytest.mark.parametrize("runs", ["runs", "toys"])
def test_the_command_of_a_card_gives_the_first_frame_relative_to_its_folder(tmp_path: Path, runs: str) -> None:
    shelf = Shelf(folder=tmp_path / "home" / runs / "toy-0" / "0001")
    shown = {"samples": [Sample(prompt=PROMPT, picture=b"JPEG", first=b"PNG")], "shelf": shelf.folder}
    record = card(changed={**shown, "store": f"sqlite:///{tmp_path}/home/{runs}/mlflow.db"})
    put(shelf.with_card(record, {}))
    (line,) = [text for text in body(front_matter(record, [])).splitlines() if text.startswith("talkies sample")]
    words = shlex.split(line)
    frame = words[words.index("--image") + 1]
    assert (tmp_path / "home" / frame).read_bytes() == b"PNG"
    assert ("--runs" in words) == (runs != "runs")
    elsewhere = Shelf(folder=tmp_path / "home")
    record = card(changed={**shown, "shelf": elsewhere.folder, "store": f"sqlite:///{tmp_path}/home/{runs}/mlflow.db"})
    assert f"--image cards/toy-model/{record.first}" in body(front_matter(record, []))


def test_a_card_without_samples_and_numbers_says_so() -> None:
    text = body(front_matter(card(changed={"samples": [], "metrics": {}, "gates": []}), []))
    assert "## Samples" not in text
    assert "Nothing was evaluated." in text
    assert "--prompt 'What is to be seen, and what is to be heard.'" in text


@pytest.mark.parametrize(
    ("made", "takes", "begins", "options"),
    [
        (
            ("video",),
            {"audio": "file that it follows"},
            "A sound becomes 2.08 s of video",
            "`--audio FILE`: file that it",
        ),
        (("video",), {"image": "first frame"}, "A prompt, and a first frame, become", "`--image FILE`: first"),
        (("video",), {}, "A prompt becomes 2.08 s of video", ""),
        (("audio", "video"), {"image": "first frame"}, "A prompt, and a first frame, become", "`--image FILE`: first"),
        (("audio", "video"), {}, "A prompt becomes 2.08 s of video", ""),
    ],
)
def test_a_card_says_what_is_made_of_what(
    made: tuple[str, ...], takes: dict[str, str], begins: str, options: str
) -> None:
    front = front_matter(replace(card(), made=made, takes=takes), ["champion"])
    assert front["pipeline_tag"] == ("image-to-video" if "image" in takes else "text-to-video")
    text = body(front)
    assert begins in text
    assert options in text
    assert text.count(" FILE`:") == len(takes)
    assert ("its frames are synthetic" in text) == (made == ("video",))


@pytest.mark.parametrize(
    ("takes", "begins"),
    [
        ({}, "A prompt becomes up to 2.5 s of sound"),
        ({"voice": "who speaks"}, "A prompt, and a voice, become up to 2.5"),
    ],
)
def test_a_card_of_sound_alone_has_seconds(takes: dict[str, str], begins: str) -> None:
    made = card(data={**info()["data"], "geometry": "1x1x2500@1000"})
    text = body(front_matter(replace(made, made=("audio",), takes=takes), []))
    assert begins in text
    assert "clips of one geometry (`2.5s`)" in text
    assert "1x1x2500" not in text


def test_a_gate_on_a_metric_that_has_no_row_gets_one() -> None:
    gates = [GateResult(metric="heldout/video/bin0", op="<=", needed=0.3, found=0.25)]
    assert "| heldout/video/bin0 |  | **0.25** |  |  | &lt;= 0.3: passed |" in body(
        front_matter(card(changed={"gates": gates}), [])
    )


@pytest.mark.parametrize(
    ("store", "server"),
    [("http://host:5000/x", "http://host:5000/x"), ("https://me:sesame@host/y?token=sesame", "https://host/y"),
     ("sqlite:////home/sesame.db", None), ("postgresql://me:sesame@host/db", None)],
)  # fmt: skip
def test_only_a_server_is_named_and_without_credentials(store: str, server: str | None) -> None:
    front = front_matter(card(changed={"store": store}), [])
    text = card_text(front)
    assert front["talkies"]["server"] == server
    assert (f"--tracking-uri {server}" in text) == (server is not None)
    assert ("elsewhere with `--runs FOLDER`" in text) == (server is None)
    assert "sesame" not in text


def test_a_card_counts_the_clips_that_were_replaced() -> None:
    message = "- 3 clips could not be read and were replaced"
    assert message in body(front_matter(card(quarantined={"clips": 3, "sha256": "ab" * 32}), ["champion"]))
    assert "could not be read" not in body(front_matter(card(quarantined={"clips": 0, "sha256": None}), ["champion"]))


@pytest.mark.parametrize("text", [text for text in NASTY if text.strip()])
def test_any_text_of_an_old_record_is_shown_literally_on_one_line(text: str) -> None:
    data = {**info()["data"], "shards": text, "geometry": text}
    parent = {"name": text, "step": 1, "sha256": text, "recipe_hash": text, "spec": text, "commit": text}
    gate = GateResult(metric=text, op=">=", needed=0.0, found=1.0)
    wild = card(
        changed={"license": text, "voices": text, "samples": [Sample(prompt=text, picture=b"")], "gates": [gate]},
        data=data, parents={"audio": parent}, codecs={text: text}, commit=text, name=text, phase=text, weights=text,
        survival={"skipped_steps": [{"step": 1, "what": text}], "passed_batches": []},
    )  # fmt: skip
    front = front_matter(wild, [])
    written = card_text(front)
    assert parse_card(written) == front
    assert front["license"] == front["datasets"][0] == front["talkies"]["samples"][0]["prompt"] == flat(text)
    assert front["talkies"]["voices"] == flat(text)
    assert written.isascii() or plain(written.replace("\n", ""))
    found = seen(body(front))
    assert found.links == ["version-0003/sample-00.jpg"]
    assert {*found.tags} <= {
        "h1", "h2", "p", "img", "blockquote", "pre", "code", "table", "thead", "tbody", "tr", "th", "td", "ul", "li",
        "strong", "details", "summary",
    }  # fmt: skip
    assert found.tags.count("h1") == 1
    assert found.tags.count("details") == 2
    (command,) = re.findall(r"^```bash\n(.*)\n```$", body(front), re.MULTILINE)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args(shlex.split(command)[2:]).prompt == flat(text)


def test_odd_text_of_an_old_front_matter_is_escaped() -> None:
    front = parse_card(card_text(front_matter(card(), [])))
    front["license"] = "mit\ntags: [x]\n---\n# Injected <script>"
    assert parse_card(card_text(front)) == front
    found = seen(body(front))
    assert found.tags.count("h1") == 1
    assert "script" not in found.tags


def test_cards_follow_the_alias(tmp_path: Path) -> None:
    shelf = Shelf(folder=tmp_path)
    put(shelf.with_card(card("1"), {"champion": "1"}))
    first, second = (tmp_path / "cards" / "toy-model" / f"version-000{number}.md" for number in (1, 2))
    assert (first.parent / "version-0001" / "sample-01.jpg").read_bytes() == b"JPEG 2"
    put(shelf.with_card(card("2"), {"champion": "2", "previous_champion": "1"}))
    assert read_card(first)["talkies"]["aliases"] == ["previous_champion"]
    assert "# toy-model version 2 (champion)" in second.read_text()
    put(shelf.with_aliases("toy-model", {"champion": "1"}))
    assert "# toy-model version 1 (champion)" in first.read_text()
    assert "# toy-model version 2\n" in second.read_text()


def test_model_cards_has_one_row_per_version_and_follows_from_the_card_files(tmp_path: Path) -> None:
    shelf = Shelf(folder=tmp_path, full_scale=FULL)
    put(shelf.with_card(card("1"), {"champion": "1"}))
    put(shelf.with_card(card("2"), {"champion": "2", "previous_champion": "1"}))
    text = shelf.index.read_text()
    assert text == shelf.text()
    rows = [line for line in text.splitlines() if line.startswith("| [")]
    assert rows == [
        f"| [{number}](cards/toy-model/version-000{number}.md) | {alias} | joint model, 1.23 million parameters | "
        "96 clips of `masks` | sync 0.412 of 0.959 | 1 of 1 passed |"
        for number, alias in ((1, "previous_champion"), (2, "champion"))
    ]
    assert "- `recipes/mova/joint_phase1.yaml`: 128 nodes x 8 GPUs" in text
    assert "Nobody has trained them" in text


def test_without_cards_nothing_was_promoted(tmp_path: Path) -> None:
    text = Shelf(folder=tmp_path).text()
    assert "No model was promoted here." in text
    assert "- none" in text


ROW = "| train/lr | 4.8e-05 |"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  run_id: run1\n", "", "it has no `talkies.run_id`"),
        ("  version: 1\n", "  version: x\n", "its `talkies.version` is 'x', and must be an integer"),
        ("  gates:\n", "  gates: {}\n  other:\n", "its `talkies.gates` is a mapping, and must be a list"),
        (
            "      value: 0.4123\n",
            "      value: [1]\n",
            "is a list of 1, and must be a number, or one of nan, inf, -inf",
        ),
        ("model-index:\n", "model-index: []\nother:\n", "its `model-index` is a list of 0"),
        (ROW, "| train/lr | fast |", "a row of `Every metric` has no number"),
        (ROW, "| train/lr |", "a row of `Every metric` has no number"),
    ],
)
def test_what_a_card_lacks_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    shelf = Shelf(folder=tmp_path)
    put(shelf.with_card(card("1"), {}))
    path = tmp_path / "cards" / "toy-model" / "version-0001.md"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError) as found:
        shelf.with_aliases("toy-model", {})
    assert str(found.value).startswith(f"cards: {path} is damaged: ")
    assert message in str(found.value)


@pytest.mark.parametrize(
    "text", ["", "# no front matter", "---\na: 1\n", "---\n- a\n---\n", "---\na: [\n---\n", "---\na: !!python/x\n---\n"]
)
def test_a_damaged_card_is_named(tmp_path: Path, text: str) -> None:
    shelf = Shelf(folder=tmp_path)
    put(shelf.with_card(card("1"), {}))
    path = tmp_path / "cards" / "toy-model" / "version-0001.md"
    path.write_text(text)
    with pytest.raises(DataError, match=r"version-0001\.md is damaged: .*; restore it, or remove it$"):
        shelf.with_card(card("2"), {})


def test_the_cards_of_this_repository_follow_from_their_front_matter() -> None:
    shelf = Shelf(folder=ROOT, full_scale=full_scale())
    assert shelf.index.read_text() == shelf.text()
    files = sorted((ROOT / "cards").rglob("*.md"))
    assert files
    for path in files:
        front = read_card(path)
        assert path.read_text() == card_text(front)
        assert metrics_of(front)


def test_a_card_says_whose_voices_were_learned() -> None:
    assert "## Voices" not in card_text(front_matter(card(), []))
    said = card_text(front_matter(card(changed={"voices": "One speaker, who agreed."}), []))
    assert "## Voices\n\nOne speaker, who agreed" in said
