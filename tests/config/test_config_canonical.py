"""The canonical form of recipes: dictionary, hash, difference, JSON Schema."""

import json
from dataclasses import replace
from typing import Any, Literal

import pytest

from talkies.codecs.identity import identity
from talkies.config import config
from talkies.config.canonical import (
    ABSENT,
    difference,
    differing,
    first_names,
    flat,
    identifying,
    older_hashes,
    recipe_hash,
    to_dict,
)
from talkies.config.decode import decode_values
from talkies.config.migrations import hash_of
from talkies.config.schema import added, renamed
from talkies.config.schema_json import json_schema
from talkies.models.systems import SYSTEMS
from talkies.recipe.config import PhaseRecipe, decode_phase_values, recipe_union
from talkies.tracking.config import GateConfig

VALUES: dict[str, Any] = {
    "kind": "phase",
    "name": "x",
    "phase": {"kind": "joint"},
    "model": {"kind": "mova", "preset": "toy"},
    "codecs": {"video": {"kind": "linear_video"}, "audio": {"kind": "linear_audio"}, "text": {"kind": "bytes"}},
    "optimizer": {"lr": {"towers": 1, "bridge": 2e-5}},
    "data": {"shards": "a", "heldout": "b", "geometry": "32x32x25@12"},
    "steps": {"max": 10, "global_batch": 2, "checkpoint_every": 5},
    "validation": {"every": 5},
    "tracking": {"experiment": "e", "gates": [{"metric": "m", "op": ">=", "value": 0.5}]},
}


@pytest.fixture
def recipe() -> PhaseRecipe:
    return decode_phase_values(VALUES, SYSTEMS, where="test")


def test_to_dict_round_trips(recipe: PhaseRecipe) -> None:
    values = json.loads(json.dumps(to_dict(recipe)))
    assert decode_phase_values(values, SYSTEMS, where="test") == recipe
    assert values["optimizer"]["betas"] == [0.9, 0.999]


def test_the_hash_is_stable(recipe: PhaseRecipe) -> None:
    spelt_out = decode_phase_values({**VALUES, "seed": 0, "precision": "fp32"}, SYSTEMS, where="elsewhere")
    assert recipe_hash(recipe) == recipe_hash(spelt_out)
    assert len(recipe_hash(recipe)) == 64


def test_the_hash_covers_what_is_computed_but_not_where(recipe: PhaseRecipe) -> None:
    same = replace(
        recipe,
        tracking=replace(recipe.tracking, experiment="other", gates=()),
        data=replace(recipe.data, root="/data", workers=4),
    )
    assert recipe_hash(same) == recipe_hash(recipe)
    others = [replace(recipe, seed=1), replace(recipe, data=replace(recipe.data, shards="c"))]
    others.append(replace(recipe, optimizer=replace(recipe.optimizer, weight_decay=0.002)))
    assert len({recipe_hash(other) for other in [recipe, *others]}) == 4


def test_hashing_changes_nothing(recipe: PhaseRecipe) -> None:
    before = to_dict(recipe)
    recipe_hash(before)
    assert before == to_dict(recipe)


def test_difference(recipe: PhaseRecipe) -> None:
    gates = (*recipe.tracking.gates, GateConfig(metric="n", op="<=", value=1.0))
    other = replace(recipe, seed=3, tracking=replace(recipe.tracking, gates=gates))
    assert difference(recipe, recipe) == {}
    assert difference(recipe, other) == {
        "seed": (0, 3),
        "tracking.gates.1.metric": (ABSENT, "n"),
        "tracking.gates.1.op": (ABSENT, "<="),
        "tracking.gates.1.value": (ABSENT, 1.0),
    }
    assert flat(recipe)["optimizer.betas"] == [0.9, 0.999]


def test_json_schema_is_for_overlays() -> None:
    schema = json_schema(recipe_union(SYSTEMS))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    text = json.dumps(schema)
    assert '"required"' not in text
    assert '"discriminator"' not in text
    names = {reference["$ref"] for reference in schema["anyOf"]}
    phases = {f"{system.kind.capitalize()}Recipe" for system in SYSTEMS}
    assert names == {f"#/$defs/{name}" for name in (*phases, "CurriculumRecipe", "PrepareConfig")}
    phase = schema["$defs"]["MovaRecipe"]
    assert phase["additionalProperties"] is False
    assert phase["properties"]["extends"]["type"] == "string"
    steps = schema["$defs"]["StepsConfig"]["properties"]["max"]["anyOf"]
    assert {"minimum": 1, "exclusiveMaximum": 2**63, "title": "Max", "type": "integer"} in steps
    assert {"pattern": r"\$\{", "type": "string"} in steps


def test_adding_a_key_with_a_default_changes_no_hash() -> None:
    @config
    class Old:
        a: int = 1

    @config
    class New:
        a: int = 1
        b: int = 2

    assert recipe_hash({"x": New()}) == recipe_hash({"x": Old()})
    assert len({recipe_hash({"x": new}) for new in (New(), New(b=3), New(a=3))}) == 3
    assert to_dict(New()) == {"a": 1, "b": 2}
    assert decode_values(New, {"b": 5}, where="test") == New(b=5)


def test_values_at_their_defaults_are_left_out_at_every_depth() -> None:
    """Except `kind`, by which variants with the same keys differ; and {} differs from None."""

    @config
    class One:
        kind: str = "one"
        a: int = 1

    @config
    class Two:
        kind: str = "two"
        a: int = 1

    @config
    class Holder:
        needed: One | Two
        given: One | Two | None = None
        moved: One | Two = One(a=5)

    assert differing(Holder(needed=One())) == {"needed": {"kind": "one"}}
    every = [
        Holder(needed=n, given=g, moved=m) for n in (One(), Two()) for g in (None, One()) for m in (One(), One(a=5))
    ]
    assert len({recipe_hash(one) for one in every}) == len(every)


def test_added_keys_at_their_defaults_do_not_identify() -> None:
    @config
    class New:
        a: int = 1
        b: int = added(2)

    assert identifying(New()) == {"a": 1}
    assert identifying([New(b=3)]) == [{"a": 1, "b": 3}]


def test_renamed_keys_and_values_identify_as_before() -> None:
    @config
    class Old:
        kind: Literal["x"] = "x"
        a: int
        b: int = 2

    @config
    class New:
        kind: Literal["y"] = renamed(default="y", values={"y": "x"})
        one: int = renamed("a")
        two: int = renamed("b", default=2)
        three: int = added(3)

    old, new = Old(a=1), decode_values(New, {"kind": "y", "one": 1}, where="test")
    assert identifying(new) == identifying(old) == {"kind": "x", "a": 1, "b": 2}
    assert identity(new, {}) == identity(old, {}) != identity(replace(new, two=5), {})
    assert older_hashes(new) == older_hashes(old) == (hash_of(to_dict(old)), hash_of({"kind": "x", "a": 1}))
    assert first_names(new) == {"kind": "kind", "a": "one", "b": "two", "three": "three"}
    assert to_dict(new) == {"kind": "y", "one": 1, "two": 2, "three": 3}, "the present form has the present names"
    assert recipe_hash({"x": new}) != recipe_hash({"x": old})


def test_an_added_key_may_be_renamed_and_have_another_default() -> None:
    @config
    class Old:
        a: int = 1
        b: int = added(2)

    @config
    class New:
        a: int = 1
        two: int = added(5, was="b", at_first=2)

    for value in (2, 5):
        assert identifying(New(two=value)) == identifying(Old(b=value))
    assert identifying(New()) == {"a": 1, "b": 5}
