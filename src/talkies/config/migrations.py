"""Migrates recipes of older schemas, as runs and releases have recorded them, to the newest schema.

A recorded recipe names its schema; without a number it has the first. A schema is a form of recipes: their keys, the
meaning of the keys, and their defaults. A change that renames a key or changes a default adds a migration at the end
of MIGRATIONS, a pure function of the recorded values: it renames the key, or writes the old default if the key is
absent. A new key whose default keeps the old behaviour needs no migration.

A migration gets recipes of every kind (`kind` tells which), and those of releases lack the sections that do not decide
what is computed: it must not expect a key. A renamed key of a codec, a source, a set or a preparation needs
`schema.renamed`, too, for what identifies them has the old names for good.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

from talkies.config.errors import RecipeError
from talkies.config.plain_json import canonical_json
from talkies.config.quoting import shown

Values = dict[str, Any]
Migration = Callable[[Values], Values]
SCHEMA = "schema"
"""The key that holds the schema number."""
FIRST = 1


def from_1(values: Values) -> Values:
    """Schema 2 has the keys and defaults of schema 1; it only hashes other keys (see `hash_of`)."""
    return values


def from_2(values: Values) -> Values:
    """Schema 3 names streams and conditions in mappings, and an adapter is chosen by `train.kind`, not by `phase.kind`.

    What schema 2 does not know stays as it is, for the decoder to refuse.
    """
    values = _phase_from_2(values)
    for key, change in (("parents", _parents_from_2), ("flow", _flow_from_2), ("sampling", _sampling_from_2)):
        if isinstance(values.get(key), dict):
            values = {**values, key: change(values[key])}
    return values


MOVED = {
    3: {
        "flow.video.shift": "`flow.schedule.shifts.video`",
        "flow.audio.shift": "`flow.schedule.shifts.audio`",
        "flow.times": "`flow.shared`, true or false",
        "sampling.video_shift": "`sampling.schedule.shifts.video`",
        "sampling.audio_shift": "`sampling.schedule.shifts.audio`",
        "sampling.text_scale": "`sampling.scales.text`",
        "sampling.bridge_scale": "`sampling.scales.bridge`",
        "phase.kind=lora": "`phase.kind: joint`, and `train.kind: lora` with the other keys of the adapter in `train`",
        "phase.rank": "`train.rank` with `train.kind: lora`",
        "phase.alpha": "`train.alpha` with `train.kind: lora`",
        "phase.dropout": "`train.dropout` with `train.kind: lora`",
        "phase.targets": "`train.targets` with `train.kind: lora`",
        "phase.experts": None,
    }
}
"""By schema: key, or key=value, of the schema before -> what to write instead (None: nothing), for messages."""


def _phase_from_2(values: Values) -> Values:
    if not isinstance(values.get("phase"), dict):
        return values
    phase = {key: value for key, value in values["phase"].items() if (key, value) != ("experts", "alternate")}
    if phase.get("kind") != "lora" or "train" in values:
        return {**values, "phase": phase}
    adapter = {key: phase.pop(key) for key in ("rank", "alpha", "dropout", "targets") if key in phase}
    return {**values, "phase": {**phase, "kind": "joint"}, "train": {"kind": "lora", **adapter}}


def _parents_from_2(parents: Values) -> Values:
    return {key: spec for key, spec in parents.items() if spec is not None}


def _flow_from_2(flow: Values) -> Values:
    if "schedule" in flow:
        return flow
    found = dict(flow)
    shifts = {name: found.pop(name) for name in ("video", "audio") if _only_shift(found.get(name))}
    if found.get("times") in ("independent", "shared"):
        found["shared"] = found.pop("times") == "shared"
    return _scheduled(found, {name: section["shift"] for name, section in shifts.items() if section})


def _only_shift(section: Any) -> bool:
    return isinstance(section, dict) and section.keys() <= {"shift"}


def _sampling_from_2(sampling: Values) -> Values:
    if sampling.keys() & {"schedule", "scales"}:
        return sampling
    found = dict(sampling)
    shifts = {name: found.pop(f"{name}_shift") for name in ("video", "audio") if f"{name}_shift" in found}
    scales = {name: found.pop(f"{name}_scale") for name in ("text", "bridge") if f"{name}_scale" in found}
    return _scheduled({**found, "scales": scales} if scales else found, shifts)


def _scheduled(section: Values, shifts: Values) -> Values:
    return {**section, "schedule": {"kind": "shifted", "shifts": shifts}} if shifts else section


MIGRATIONS: tuple[Migration, ...] = (from_1, from_2)
"""The n-th migration leads from schema n to schema n + 1."""
NEWEST = FIRST + len(MIGRATIONS)


def migrated(values: Mapping[str, Any], migrations: tuple[Migration, ...] = MIGRATIONS) -> Values:
    """The recorded `values` of a recipe of any schema, in the newest one and without the schema number; the argument is
    not changed. RecipeError if the schema is unknown."""
    result, newest = deepcopy(dict(values)), FIRST + len(migrations)
    schema = result.pop(SCHEMA, FIRST)
    if type(schema) is not int or not FIRST <= schema <= newest:
        raise RecipeError(f"recipe: `{SCHEMA}` is {shown(schema)}; this version reads {FIRST} to {newest}")
    for number, migration in enumerate(migrations[schema - FIRST :], schema):
        try:
            result = migration(result)
        except (AttributeError, KeyError, TypeError) as error:  # the values may come from a person, or be damaged
            raise RecipeError(f"recipe: it has not the form of schema {number}: {error!r}; correct it") from error
    return result


def hash_of(values: Mapping[str, Any], left_out: Iterable[tuple[str, ...]] = ()) -> str:
    """sha256 of plain values, except those at the paths `left_out`. Schema 1 hashed all keys of a recipe, including
    those at their defaults: what a run has recorded, or `canonical.identifying` of a recipe."""
    return hashlib.sha256(canonical_json(without_paths(deepcopy(dict(values)), left_out)).encode()).hexdigest()


def without_paths(values: Values, paths: Iterable[tuple[str, ...]]) -> Values:
    """Remove whatever `values` has at `paths`; changes and returns its argument."""
    for path in paths:
        holder = values
        for name in path[:-1]:
            holder = holder.get(name, {})
        holder.pop(path[-1], None)
    return values
