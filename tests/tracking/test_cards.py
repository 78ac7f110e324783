"""Cards say what the release and the metrics say, and MODEL_CARDS.md what the cards say."""

from pathlib import Path
from typing import Any

from tracking_release import info

from talkies.tracking.card_text import Card, body, card_text, front_matter, parse_card
from talkies.tracking.cards import model_cards, render_model_cards, update_aliases, write_card
from talkies.tracking.gates import GateResult

FULL = [("recipes/mova/joint_phase1.yaml", "128 nodes x 8 GPUs")]


def card(version: str = "3", **changes: Any) -> Card:
    files = {
        "codecs/audio/model.safetensors": {"sha256": "e1" * 32, "size": 9},
        "audio.safetensors": {"sha256": "e2" * 32},
    }
    release = info(components={"audio": {"parameters": 1234567}}, files=files, base=None, **changes)
    return Card(
        name="toy-model",
        version=version,
        sha256="ab" * 32,
        run_id="run1",
        license="apache-2.0",
        info=release,
        metrics={"evaluation/sync": 0.4123, "evaluation/lag_ms": 41.0},
        gates=[GateResult(metric="evaluation/sync", op=">=", needed=0.35, found=0.4123)],
    )


def test_the_front_matter_is_what_the_hub_reads() -> None:
    front = front_matter(card(), ["champion"])
    assert (front["license"], front["pipeline_tag"], front["datasets"]) == ("apache-2.0", "image-to-video", ["masks"])
    assert "base_model" not in front
    (model,) = front["model-index"]
    (result,) = model["results"]
    assert result["dataset"]["revision"] == "f2" * 32
    assert {"type": "evaluation/sync", "value": 0.4123} in result["metrics"]
    told = front["talkies"]
    assert (told["sha256"], told["recipe_hash"], told["commit"]) == ("ab" * 32, "a1" * 32, "c0ffee" * 6)
    assert told["codecs"] == {"video": "d1" * 32, "audio": "d2" * 32, "text": "d3" * 32} | {
        "codecs/audio/model.safetensors": "e1" * 32
    }


def test_an_adapter_names_its_base() -> None:
    parent = {"name": "joint", "step": 600, "sha256": "77" * 32, "recipe_hash": "b2" * 32}
    adapter = card(parents={"video_high": parent, "audio": parent})
    adapter.info["base"] = {"name": "joint", "sha256": "77" * 32, "path": "/x"}  # type: ignore[index]
    front = front_matter(adapter, [])
    assert (front["base_model"], front["base_model_relation"]) == (["joint"], "adapter")
    text = body(front)
    assert "LoRA adapter of joint" in text
    assert f"- audio from joint, step 600, sha256 `{'77' * 32}`" in text
    sound = card(data={**info()["data"], "grids": {"audio": {}}}, parents={"audio": parent})
    front = front_matter(sound, [])
    assert (front["pipeline_tag"], front["base_model_relation"]) == ("text-to-audio", "finetune")


def test_a_card_says_everything_again_in_words() -> None:
    text = card_text(front_matter(card(), ["champion"]))
    assert parse_card(text) == front_matter(card(), ["champion"])
    assert text.split("---\n\n", 1)[1] == body(parse_card(text))
    for told in (
        "# toy-model version 3 (champion)",
        "audio (1,234,567 parameters)",
        "| evaluation/sync | 0.4123 |",
        "| evaluation/sync | >= 0.35 | 0.4123 | passed |",
        f"`{'a1' * 32}`",
        f"manifest hash `{'f1' * 32}`",
        f"codec: audio `{'d2' * 32}`",
        "talkies sample models:/toy-model/3",
        "no parents: random initial weights",
        "96 clips of one geometry (64x64x25@12)",
        "License: apache-2.0.",
    ):
        assert told in text, told


def test_a_card_counts_the_clips_that_were_replaced() -> None:
    told = "- 3 clips could not be read and were replaced"
    assert told in body(front_matter(card(quarantined={"clips": 3, "sha256": "ab" * 32}), ["champion"]))
    assert "could not be read" not in body(front_matter(card(quarantined={"clips": 0, "sha256": None}), ["champion"]))


def test_cards_follow_the_alias(tmp_path: Path) -> None:
    first = write_card(tmp_path, card("1"), {"champion": "1"})
    assert first == tmp_path / "toy-model" / "version-0001.md"
    second = write_card(tmp_path, card("2"), {"champion": "2", "previous_champion": "1"})
    assert parse_card(first.read_text())["talkies"]["aliases"] == ["previous_champion"]
    assert "# toy-model version 2 (champion)" in second.read_text()
    update_aliases(tmp_path, "toy-model", {"champion": "1"})
    assert "# toy-model version 1 (champion)" in first.read_text()
    assert "# toy-model version 2\n" in second.read_text()


def test_model_cards_are_a_function_of_the_card_files(tmp_path: Path) -> None:
    cards = tmp_path / "cards"
    write_card(cards, card("1"), {"champion": "1"})
    write_card(cards, card("2"), {"champion": "2", "previous_champion": "1"})
    target = tmp_path / "MODEL_CARDS.md"
    render_model_cards(cards, FULL, target)
    text = target.read_text()
    assert text == model_cards(cards, FULL, beside=tmp_path)
    assert (
        "| [2](cards/toy-model/version-0002.md) | champion | joint | 100 | - | masks (96 clips) | lora `a1a1a1a1` |"
        in text
    )
    assert "| evaluation/sync | >= 0.35 | 0.4123 | 0.4123 |" in text
    assert "- `recipes/mova/joint_phase1.yaml`: 128 nodes x 8 GPUs" in text
    assert "Nobody has trained them" in text
    render_model_cards(cards, FULL, cards / "MODEL_CARDS.md")
    assert "[2](toy-model/version-0002.md)" in (cards / "MODEL_CARDS.md").read_text()


def test_without_cards_nothing_was_promoted(tmp_path: Path) -> None:
    text = model_cards(tmp_path, [], beside=tmp_path)
    assert "No model was promoted here." in text
    assert "- none" in text
