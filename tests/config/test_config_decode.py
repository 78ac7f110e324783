"""Strict decoding: every error names key path, place, value, and what is allowed or nearest."""

import json
import time
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, Tag

from talkies.config import RecipeError, config
from talkies.config.decode import decode, decode_values
from talkies.config.numbers import Count, Positive, Share
from talkies.config.source import load
from talkies.config.tagged import BY_KIND, PLAIN
from talkies.models.systems import SYSTEMS
from talkies.recipe.config import decode_phase_values, decode_recipe


@config
class Cat:
    kind: Literal["cat"] = "cat"
    lives: Count = 9


@config
class Dog:
    kind: Literal["dog"] = "dog"
    weight: Positive


@config
class Home:
    name: str
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    others: dict[str, Annotated[Cat | Dog, Field(discriminator="kind")]] = field(default_factory=dict)
    rooms: tuple[Dog, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)
    share: Share = 0.5
    warm: bool = True
    colour: Literal["red", "green"] = "red"
    note: str | None = None
    side: Literal["left", "right"] | Count = "left"
    food: dict[Literal["meat", "fish"], Share] = field(default_factory=dict)
    heat: Annotated[Annotated[Share, PLAIN] | Annotated[Dog, Tag("dog")], BY_KIND] = 1.0
    tag: Annotated[str, Field(pattern=r"^[a-z]*$", max_length=5)] = ""


GOOD = "name: a\npet:\n  kind: dog\n  weight: 3\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def decoded(text: str, *overrides: str) -> Home:
    Path("x.yaml").write_text(text)
    return decode(Home, load(Path("x.yaml"), overrides))


def test_values_are_decoded_frozen() -> None:
    home = decoded(GOOD + "others: {tom: {kind: cat}}\npair: [1, 2.5]\nrooms: [{kind: dog, weight: 1e-4}]")
    expected = Home(name="a", pet=Dog(weight=3.0), others={"tom": Cat()}, pair=(1.0, 2.5), rooms=(Dog(weight=1e-4),))
    assert home == expected
    assert isinstance(home.pet, Dog)
    assert isinstance(home.pet.weight, float)
    with pytest.raises(AttributeError):
        home.name = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shar: 0.1", "unknown key `shar` (x.yaml:5). Did you mean `share`?"),
        ("weight: 1", "unknown key `weight` (x.yaml:5). Did you mean `pet.weight`?"),
        ("zzz: 1", "unknown key `zzz` (x.yaml:5). Known keys there: name, pet, others,"),
        (
            "others:\n  tom:\n    kind: cat\n    livs: 3",
            "unknown key `others.tom.livs` (x.yaml:8). Did you mean `others.tom.lives`?",
        ),
        (
            "rooms:\n- kind: dog\n  weight: 1\n  weigth: 2",
            "unknown key `rooms.0.weigth` (x.yaml:8). Did you mean `rooms.0.weight`?",
        ),
        ("share: 'x'", "`share` must be a number, got 'x' at x.yaml:5"),
        ("share: 1.5", "`share` must be <= 1, got 1.5 at x.yaml:5"),
        ("share: -1", "`share` must be >= 0, got -1 at x.yaml:5"),
        ("warm: no", "`warm` must be true or false, got 'no' at x.yaml:5"),
        ("warm: 1", "`warm` must be true or false, got 1 at x.yaml:5"),
        ("others:\n  tom: {kind: cat, lives: 010}", "`others.tom.lives` must be an integer, got '010' at x.yaml:6"),
        ("others:\n  tom: {kind: cat, lives: true}", "`others.tom.lives` must be an integer, got true at x.yaml:6"),
        ("others:\n  tom: {kind: cat, lives: 2.0}", "`others.tom.lives` must be an integer, got 2.0 at x.yaml:6"),
        ("others: [1]", "`others` must be a mapping of keys, got a list of 1 at x.yaml:5"),
        ("others: {tom: 3}", "`others.tom`"),
        ("others:\n  tom: {kind: cow}", "unknown kind 'cow' at `others.tom.kind` (x.yaml:6); one of cat, dog"),
        ("others:\n  tom: {kind: dig}", "Did you mean 'dog'?"),
        ("others:\n  tom: {weight: 3}", "missing key `others.tom.kind` (x.yaml:6); one of cat, dog"),
        ("others:\n  tom: {kind: dog}", "missing key `others.tom.weight` (x.yaml:6)"),
        ("colour: gren", "`colour` is 'gren' (x.yaml:5); one of red, green. Did you mean 'green'?"),
        ("colour: null", "`colour` is null (x.yaml:5); one of red, green"),
        ("pair: [1]", "missing key `pair.1` (x.yaml:5)"),
        ("pair: [1, 2, 3]", "`pair` must"),
        ("pair: 3", "`pair` must be a list, got 3"),
        ("note: 3", "`note` must be text, got 3"),
        ("side: up", "`side` is 'up' (x.yaml:5); needed is 'left', 'right' or an integer"),
        ("side: [1]", "`side` is a list of 1 (x.yaml:5); needed is 'left', 'right' or an integer"),
        ("food: {fihs: 1}", "unknown key `food.fihs` (x.yaml:5); one of meat, fish. Did you mean 'fish'?"),
        ("food: {fish: 2}", "`food.fish` must be <= 1, got 2 at x.yaml:5"),
        ("heat: -1", "`heat` must be >= 0, or a mapping whose `kind` is dog, got -1 at x.yaml:5"),
        ("heat: x", "`heat` must be a number, or a mapping whose `kind` is dog, got 'x' at x.yaml:5"),
        (
            "heat: {kind: dig, weight: 1}",
            "unknown kind 'dig' at `heat.kind` (x.yaml:5); one of dog. Did you mean 'dog'?",
        ),
        ("heat: {kind: cow, value: 3}", "unknown kind 'cow' at `heat.kind` (x.yaml:5); one of dog"),
        ("heat: {kind: '', weight: 1}", "missing key `heat.kind` (x.yaml:5); one of dog"),
        ("heat: {weight: 1}", "missing key `heat.kind` (x.yaml:5); one of dog"),
        ("heat: {kind: dog, weight: 0}", "`heat.weight` must be > 0, got 0 at x.yaml:5"),
        (
            "heat: {kind: dog, weight: 1, wieght: 1}",
            "unknown key `heat.wieght` (x.yaml:5). Did you mean `heat.weight`?",
        ),
        ("others: {tom: 3}", "`others.tom` must be a mapping whose `kind` is one of cat, dog, got 3 at x.yaml:5"),
        ("tag: A", "`tag` must be of the form ^[a-z]*$, got 'A' at x.yaml:5"),
        ("tag: abcdef", "`tag` must be text of at most 5 characters, got 'abcdef' at x.yaml:5"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        decoded(GOOD + text)
    assert str(caught.value).startswith("recipe: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_key_at_the_root_names_the_file() -> None:
    with pytest.raises(RecipeError, match=r"^recipe: missing key `name` \(x.yaml\)$"):
        decoded("pet: {kind: cat}")


def test_unknown_keys_come_first_and_the_others_are_counted() -> None:
    with pytest.raises(RecipeError) as caught:
        decoded("pet: {kind: dog, weigth: 3}\nshare: 7")
    first, second = str(caught.value).split("\n")
    assert first == "recipe: unknown key `pet.weigth` (x.yaml:1). Did you mean `pet.weight`?"
    assert second == "... and 3 more: `name`, `pet.weight`, `share`"


def test_a_choice_or_a_number_is_one_mistake_among_others() -> None:
    with pytest.raises(RecipeError) as caught:
        decoded(GOOD + "warm: 1\nshare: 2\nside: up")
    first, others = str(caught.value).split("\n")
    assert "`share` must be <= 1" in first
    assert others == "... and 2 more: `warm`, `side`"


def test_an_unknown_override_says_so() -> None:
    with pytest.raises(RecipeError, match=r"unknown key `pet.weigh` \(override\). Did you mean `pet.weight`\?"):
        decoded(GOOD, "pet.weigh=3")


def test_an_override_of_the_kind_does_not_drop_keys_silently() -> None:
    with pytest.raises(RecipeError, match=r"unknown key `pet.weight` \(x.yaml:4\)"):
        decoded(GOOD, "pet.kind=cat")
    assert decoded(GOOD, "pet={kind: cat}").pet == Cat()


def test_the_root_union_names_its_kinds() -> None:
    for text, message in (
        ("name: x", "x.yaml has no `kind`"),
        ("kind: phaze", "(x.yaml:1); one of phase, curriculum, prepare. Did you mean 'phase'?"),
    ):
        Path("x.yaml").write_text(text)
        with pytest.raises(RecipeError) as caught:
            decode_recipe(load("x.yaml"), SYSTEMS)
        assert message in str(caught.value)
        assert "one of phase, curriculum, prepare" in str(caught.value)


def test_all_errors_of_a_recipe_are_reported() -> None:
    Path("x.yaml").write_text(
        "kind: phase\nname: x\noptimizer: {kind: adamw, lr: {towers: 1e-5, bridge: 0}, weight_decai: 0.1}\n"
    )
    with pytest.raises(RecipeError) as caught:
        decode_recipe(load("x.yaml"), SYSTEMS)
    first, second = str(caught.value).split("\n")
    assert first == "recipe: unknown key `optimizer.weight_decai` (x.yaml:3). Did you mean `optimizer.weight_decay`?"
    assert "`optimizer.lr.bridge`" in second


@pytest.mark.parametrize("key", ["colour", "name", "shar", "others.sesame"])
def test_a_credential_is_refused_by_key_before_all_else(key: str) -> None:
    with pytest.raises(RecipeError, match=r"^recipe: `[a-z.]+` \(override\) can carry a credential") as caught:
        decoded(GOOD, f"{key}=https://host/x?password=sesame")
    assert f"`{key}`" in str(caught.value)
    assert "password=" not in str(caught.value)


@pytest.mark.parametrize("value", ['"a\\0b"', '"a\\ud800b"', '"\\udce9"'])
def test_characters_that_no_file_name_can_have_are_refused_by_key(value: str) -> None:
    with pytest.raises(RecipeError, match=r"^recipe: `note` \(override\) contains NUL or a lone surrogate"):
        decoded(GOOD, f"note={value}")
    with pytest.raises(RecipeError, match=r"contains NUL or a lone surrogate"):
        decoded(GOOD + f"{value}: 1")


@pytest.mark.parametrize("keys", [10, 8_000])
def test_many_unknown_keys_are_counted_in_time(keys: int) -> None:
    began = time.process_time()
    with pytest.raises(RecipeError) as caught:
        decoded(GOOD + "".join(f"lives{number}: 1\n" for number in range(keys)))
    first, second = str(caught.value).split("\n")
    assert first.startswith("recipe: unknown key `lives0` (x.yaml:5).")
    assert second == f"... and {keys - 1} more: `lives1`, `lives2`, `lives3`, `lives4`, `lives5`, ..."
    assert time.process_time() - began < 60


def test_decode_values_names_where() -> None:
    assert decode_values(Cat, {"lives": 3}, where="release.json") == Cat(lives=3)
    with pytest.raises(RecipeError, match=r"unknown key `live` \(release.json\)"):
        decode_values(Cat, {"live": 3}, where="release.json")
    with pytest.raises(RecipeError, match="missing key `name`"):
        decode_phase_values({}, SYSTEMS, where="recipe.json")


RECIPES = Path(__file__).parents[2] / "recipes" / "mova" / "toy"
SEEDS = [("lora", "seed"), ("prepare", "seed"), ("prepare", "sources.faces.seed")]


@pytest.mark.parametrize(("recipe", "key"), SEEDS)
def test_a_seed_has_64_bits_and_no_sign(recipe: str, key: str) -> None:
    for value in (0, 2**63 - 1):
        decode_recipe(load(RECIPES / f"{recipe}.yaml", [f"{key}={value}"]), SYSTEMS)
    for value, bound in ((-1, ">= 0"), (2**63, f"< {2**63}"), (10**40, f"< {2**63}")):
        with pytest.raises(RecipeError, match=f"`{key}` must be {bound}, got {value} at override"):
            decode_recipe(load(RECIPES / f"{recipe}.yaml", [f"{key}={value}"]), SYSTEMS)


def test_a_number_too_long_to_read_is_cut_in_the_message() -> None:
    with pytest.raises(RecipeError) as caught:
        load(RECIPES / "lora.yaml", [f"seed={'9' * 5000}"])
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "odd", ["\n", "\r", "\t", "\x1b", "\x85", "\u2028", "\u2029", "\u202e", "\u2066", "\u200b", "\ufeff", "\x7f"]
)
def test_a_text_of_more_than_one_line_is_refused_by_key(odd: str) -> None:
    value = json.dumps(f"a{odd}b")
    with pytest.raises(RecipeError, match=r"^recipe: `note` \(override\) must be one line") as caught:
        decoded(GOOD, f"note={value}")
    assert "\n" not in str(caught.value)
    with pytest.raises(RecipeError, match=r"must be one line"):
        decoded(GOOD + f"{value}: 1")


def test_one_line_in_any_script_is_accepted() -> None:
    for text in (
        "caf\u00e9",
        "\u6771\u4eac\u3000\u99c5",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "a\u00a0b",
    ):
        assert decoded(GOOD, f"note={json.dumps(text)}").note == text
