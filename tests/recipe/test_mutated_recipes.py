"""Recipes damaged at random, with fixed seeds: each is used, or refused with one readable message."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from talkies.config import RecipeError
from talkies.config.source import load
from talkies.models.systems import SYSTEMS
from talkies.prepare.plan import plan
from talkies.recipe.check import check
from talkies.recipe.config import PhaseRecipe, decode_recipe

TOY = Path(__file__).parents[2] / "recipes" / "mova" / "toy"
NAMES = ["prepare", "lora", "joint_phase1", "curriculum", "defaults"]
OLD = """# Of schema 2.
schema: 2
extends: old_defaults.yaml
name: lora
phase: {kind: lora, rank: 16, experts: alternate}
parents:
  base: high_resolution
  video: null
flow:
  video: {shift: 5.0}
  audio:
    shift: 1.0
  times: shared
sampling:
  video_shift: 2.0
  text_scale: 3.0
data: {shards: masks, heldout: masks_heldout}
steps: {max: 3}
"""
LONG = "x" * 5_000
VALUES = [
    *("", "~", "-1", "0", "1e400", "-1e308", "9" * 400, "1" + "0" * 30, "1e18", "'1'", "true", "[]", "{}", "[1, [2]]"),
    *("{a: 1}", "${", "${a}", "${steps.max}", "${oc.env:HOME}", "???", "!!python/name:os.system x", "*a", "&a b"),
    *(
        LONG,
        f"'{LONG}'",
        '"\\0"',
        '"\\ud800"',
        '"\\e[31m\\n\\u202e"',
        "\x1b[31m",
        "\x00",
        "caf\xe9 \u202e",
        "\ufeff",
        "\t",
    ),
    *("https://me:sesame@host", "https://host/?token=sesame", "sesame: x: y", "| \n  a\n  b", "@", "`", "%", "10**9"),
    "[" * 300,
    "9" * 5_000,
    "9x9x9@0.0000001",
    f"{'9' * 400}x1x1@1",
]


def valued(draw: random.Random, lines: list[str]) -> None:
    """Another value for a key."""
    at = draw.choice([number for number, line in enumerate(lines) if ":" in line])
    lines[at] = f"{lines[at].partition(':')[0]}: {draw.choice(VALUES)}"


def named(draw: random.Random, lines: list[str]) -> None:
    """Another name for a key."""
    at = draw.choice([number for number, line in enumerate(lines) if ":" in line])
    head, _, rest = lines[at].partition(":")
    lines[at] = f"{head[: len(head) - len(head.lstrip())]}{draw.choice(VALUES)}:{rest}"


def moved(draw: random.Random, lines: list[str]) -> None:
    """A line moved, indented, duplicated or removed."""
    line = lines.pop(draw.randrange(len(lines)))
    for _ in range(draw.randrange(3)):
        lines.insert(draw.randrange(len(lines) + 1), " " * draw.randrange(4) + line)


def pricked(draw: random.Random, lines: list[str]) -> None:
    """A character added or removed."""
    at = draw.randrange(len(lines))
    place = draw.randrange(len(lines[at]) + 1)
    lines[at] = lines[at][:place] + draw.choice(["", *":{}[]&*!|>'\"%@#,-?\x07\x85\u2028"]) + lines[at][place + 1 :]


def many(draw: random.Random, lines: list[str]) -> None:
    """Unknown keys."""
    lines += [f"{draw.choice(['steps', 'zz', LONG[:300]])}{number}: {number}" for number in range(200)]


MUTATIONS: list[Callable[[random.Random, list[str]], None]] = [valued, valued, valued, named, moved, pricked, many]


def used(path: Path) -> None:
    """As far as a recipe goes without data."""
    recipe = decode_recipe(load(path), SYSTEMS)
    if isinstance(recipe, PhaseRecipe):
        check(recipe)
    elif recipe.kind == "prepare":
        plan(recipe, SYSTEMS)


@pytest.mark.parametrize("seed", range(10))
def test_a_mutated_recipe_is_used_or_refused_readably(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw, refused = random.Random(seed), 0
    for name in NAMES:
        Path(f"{name}.yaml").write_text((TOY / f"{name}.yaml").read_text())
    Path("old_defaults.yaml").write_text("schema: 2\n" + (TOY / "defaults.yaml").read_text())
    for _ in range(30):
        name = draw.choice([*NAMES, "old"])
        lines = (OLD if name == "old" else (TOY / f"{name}.yaml").read_text()).splitlines()
        for mutation in draw.choices(MUTATIONS, k=draw.randrange(1, 4)):
            mutation(draw, lines)
        Path("x.yaml").write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
        try:
            used(Path("x.yaml"))
        except RecipeError as error:
            message, refused = str(error), refused + 1
            assert len(message) <= 600, message
            assert message.replace("\n", "").isprintable(), ascii(message)
            assert message.startswith("recipe: "), message
            assert "sesame@" not in message, message
    assert refused > 15


def test_the_recipe_of_schema_2_is_one(tmp_path: Path) -> None:
    (tmp_path / "old_defaults.yaml").write_text("schema: 2\n" + (TOY / "defaults.yaml").read_text())
    (tmp_path / "old.yaml").write_text(OLD)
    used(tmp_path / "old.yaml")
