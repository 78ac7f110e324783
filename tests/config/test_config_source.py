"""Reading, extending, overriding and interpolating recipe files."""

import os
from functools import partial
from pathlib import Path

import pytest

from talkies.config import RecipeError, source
from talkies.config.migrations import migrated
from talkies.config.source import load


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(path, overrides)
    message = str(caught.value)
    assert message.startswith("recipe: ")
    return message


def test_scalars_are_yaml_1_2(tmp_path: Path) -> None:
    text = "a: 1e-4\nb: 010\nc: no\nd: 2026-11-21\ne: 215_000\nf: .5\ng: -2\nh: ~\ni: true\nj: 1:30\nk: 0x10\n"
    text += "l: 1.\nm: 1.5E+3"
    values = load(write(tmp_path, "x.yaml", text)).values
    assert values == {
        "a": 1e-4, "b": "010", "c": "no", "d": "2026-11-21", "e": 215000, "f": 0.5, "g": -2, "h": None, "i": True,
        "j": "1:30", "k": "0x10", "l": 1.0, "m": 1500.0,
    }  # fmt: skip
    assert isinstance(values["a"], float)
    assert isinstance(values["l"], float)


def test_extends_merges_mappings_and_replaces_lists(tmp_path: Path) -> None:
    write(tmp_path, "base/root.yaml", "a: {x: 1, y: 2}\nlist: [1, 2, 3]\nkept: yes")
    write(tmp_path, "base/middle.yaml", "extends: root.yaml\na: {y: 3}\n")
    source = load(write(tmp_path, "top.yaml", "extends: base/middle.yaml\n\nlist: [9]\na:\n  z: 4\n"))
    assert source.values == {"a": {"x": 1, "y": 3, "z": 4}, "list": [9], "kept": "yes"}
    assert source.origins == {
        "a": "top.yaml:4",
        "a.x": "base/root.yaml:1",
        "a.y": "base/middle.yaml:2",
        "a.z": "top.yaml:5",
        "list": "top.yaml:3",
        "list.0": "top.yaml:3",
        "kept": "base/root.yaml:3",
    }


def test_a_mapping_of_another_kind_replaces(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "phase: {kind: joint, audio: 0.2}\ncodec: {kind: wan, block: 8}")
    top = write(
        tmp_path,
        "x.yaml",
        "extends: base.yaml\nphase: {kind: audio_pretraining, text_dropout: 0.4}\ncodec: {block: 16}",
    )
    assert load(top).values == {
        "phase": {"kind": "audio_pretraining", "text_dropout": 0.4},
        "codec": {"kind": "wan", "block": 16},
    }


def test_overrides_are_yaml_and_remembered(tmp_path: Path) -> None:
    top = write(tmp_path, "x.yaml", "steps: {max: 3, keep: 1}\ngates: [{name: a, value: 1}, {name: b, value: 2}]")
    source = load(top, ["steps.max=1e-4", "gates.1.value=7", "new.key=[1, no]", "seed=${steps.keep}"])
    assert source.values == {
        "steps": {"max": 1e-4, "keep": 1},
        "gates": [{"name": "a", "value": 1}, {"name": "b", "value": 7}],
        "new": {"key": [1, "no"]},
        "seed": 1,
    }
    assert source.origins["steps.max"] == source.origins["gates.1.value"] == source.origins["new.key.1"] == "override"
    assert source.origins["steps.keep"] == "x.yaml:1"


@pytest.mark.parametrize(
    ("override", "fragment"),
    [
        ("steps.max", "must be key.path=value"),
        ("=3", "must be key.path=value"),
        ("a..b=3", "must be key.path=value"),
        ("steps.max=", "steps.max=null"),
        ("steps.max.x=3", "`steps.max` (x.yaml:1) is 3, which holds no keys"),
        ("gates.2=3", "a list of 1"),
        ("steps.max={a: ", "override 'steps.max={a: ':1:5 is not YAML"),
        ("name=${oc.env:HOME}", "no resolver"),
        ("name=${oc.${a}:HOME}", "no resolver"),
        ("name={deep: ['${now:x}']}", "no resolver"),
        ("name=!!python/object/apply:os.system [id]", "tag"),
    ],
)
def test_bad_overrides(tmp_path: Path, override: str, fragment: str) -> None:
    top = write(tmp_path, "x.yaml", "steps: {max: 3}\ngates: [1]\n")
    assert fragment in refused(top, override)


def test_an_override_given_twice(tmp_path: Path) -> None:
    assert "given twice: 'a=1' and 'a=2'" in refused(write(tmp_path, "x.yaml", "a: 0"), "a=1", "a=2")


def test_interpolation(tmp_path: Path) -> None:
    text = "a: {b: 3, same: '${.b}'}\nc: ${a.b}\nname: run-${a.b}\ncopy: ${a}\n"
    source = load(write(tmp_path, "x.yaml", text))
    assert source.values["c"] == 3
    assert source.values["name"] == "run-3"
    assert source.values["copy"] == source.values["a"] == {"b": 3, "same": 3}
    assert source.origins["copy.b"] == "x.yaml:4"


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ('extends: "a\\0b"', "`extends` must be a path relative to the file, got 'a\\x00b' at x.yaml:1"),
        ('extends: "\\ud800"', "`extends` must be a path relative to the file, got '\\ud800' at x.yaml:1"),
        ("extends: " + "x" * 200, f"x.yaml:1 extends {'x' * 77}...: no file "),
        ("a: ${b.c}", "`a` is '${b.c}' (x.yaml:1), which leads to no key that the recipe sets"),
        ("a: ${b}\nb: ${a}", "is circular"),
        ("a: ${oc.env:HOME}", "only ${key.path} is allowed"),
        ("a: ${oc.env:HF_TOKEN,none}", "only ${key.path} is allowed"),
        ("a: ${${b}}\nb: a", "only ${key.path} is allowed"),
        ("a: ???\nb:\n  c: ???", "missing key `a` (and `b.c`): x.yaml:1 leaves it open with ???"),
        ("a: {b: ???, c: [???, 1]}", "missing key `a.b` (and `a.c.0`)"),
        ("a: {?}\nkind: x", "key '' (x.yaml:1)"),
        ("a: 1\nb: 2\na: 3\nkind: x", "duplicate key `a` (x.yaml:3); first at x.yaml:1"),
        ("a:\n  b: 1\n  b: 2\nkind: x", "duplicate key `a.b` (x.yaml:3); first at x.yaml:2"),
        (
            "a: !!python/object/apply:os.system ['touch pwned']\nkind: x",
            "tag '!!python/object/apply:os.system' (x.yaml:1)",
        ),
        ("a: !!binary aGk=\nkind: x", "tag '!!binary'"),
        ("a: !!int eight\nkind: x", "`a` is 'eight'"),
        ("a: 1e999\nkind: x", "`a` is '1e999', which is not a finite float, at x.yaml:1"),
        ("a: &x 1\nb: *x", "alias"),
        ("a: &x [*x]", "alias"),
        ("1: a\nkind: x", "key '1' (x.yaml:1)"),
        ("a.b: 1\nkind: x", "key 'a.b' (x.yaml:1)"),
        ("? [a, b]\n: c\nkind: x", "key a collection"),
        ("a: [1", "x.yaml:1:6 is not YAML"),
        ("a: 1\n---\nb: 2", "is not YAML"),
        ("a: 'x\0'", "is not YAML"),
        ("[" * 5000, "recipe: x.yaml"),
        ("", "x.yaml is empty"),
        ("# only a comment", "x.yaml is empty"),
        ("- a", "a recipe is a mapping"),
        ("extends: 3", "`extends` must be a path relative to the file, got 3 at x.yaml:1"),
        ("extends: /etc/x.yaml", "must be a path relative"),
        ("extends: x.yaml", "is circular"),
        ("extends: x.yml", "x.yaml:1 extends x.yml: no file x.yml; nearest: x.yaml"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, fragment: str) -> None:
    message = refused(write(tmp_path, "x.yaml", text))
    assert fragment in message
    assert "\n" not in message
    assert not (tmp_path / "pwned").exists()


def test_extends_at_most_two_deep(tmp_path: Path) -> None:
    write(tmp_path, "d.yaml", "a: 1")
    write(tmp_path, "c.yaml", "extends: d.yaml")
    second = write(tmp_path, "b.yaml", "extends: c.yaml")
    assert load(second).values == {"a": 1}
    assert "`extends` at c.yaml:1 is more than 2 deep" in refused(write(tmp_path, "a.yaml", "extends: b.yaml"))


def test_a_longer_circle_of_extends(tmp_path: Path) -> None:
    write(tmp_path, "b.yaml", "extends: a.yaml")
    assert "b.yaml:1 leads back to a.yaml" in refused(write(tmp_path, "a.yaml", "extends: b.yaml"))


def test_not_utf_8_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
    assert refused(tmp_path / "x.yaml") == "recipe: x.yaml:2 is not UTF-8 (byte 0xe9); save the file as UTF-8"


def test_missing_files_name_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, "recipes/mova/joint_phase1.yaml", "a: 1")
    assert refused(Path("recipes/mova/joint_phase9.yaml")).endswith("nearest: recipes/mova/joint_phase1.yaml")
    assert refused(Path("recipes/mova/joint_phase1")).endswith("nearest: recipes/mova/joint_phase1.yaml")
    assert refused(Path("recipes/mowa/lora.yaml")) == "recipe: no folder recipes/mowa; nearest: recipes/mova"
    assert refused(Path("recipes/mova")).endswith("it holds joint_phase1.yaml")


SESAME = (
    "root:x:0:0:sesame:/root:/bin/bash\nsesame: x\n",
    "sesame\n",
    "- sesame\n",
    "TOKEN=sesame\nOTHER=sesame\n",
    "[default]\nkey = sesame\n",
    "-----BEGIN KEY-----\nsesame\n",
    "a: !sesame 1\n",
    "a: &sesame 1\nb: *sesame\nc: *sesame1\n",
    "a: 'sesame\n",
    "sesame: 1\nsesame: 2\n",
    "sesame.x: 1\n",
    "a: !!int sesame\n",
    "a: ${sesame:-x}\n",
    '{"password": "sesame", "b": @}',
)


@pytest.mark.parametrize("text", SESAME)
def test_files_that_are_not_recipes_are_not_quoted(tmp_path: Path, text: str) -> None:
    assert "sesame" not in refused(write(tmp_path, "x.yaml", text))


def test_a_number_that_is_not_finite_is_named_by_its_key(tmp_path: Path) -> None:
    message = refused(write(tmp_path, "x.yaml", "a: 1"), "survival.spike={sigma: 1e400}")
    assert "`survival.spike.sigma` is '1e400', which is not a finite float, at override" in message


@pytest.mark.timeout(120)
def test_a_recipe_is_a_regular_file_of_a_bounded_size(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    os.mkfifo(file)
    with pytest.raises(RecipeError, match=r"r\.yaml cannot be read: it is a named pipe, not a regular file"):
        load(file)
    file.unlink()
    file.write_text("kind: phase\n#" + "x" * (1 << 20))
    with pytest.raises(RecipeError, match="it has 1048589 bytes, and at most 1048576 are read"):
        load(file)
    (tmp_path / "child.yaml").write_text("extends: r.yaml\n")
    with pytest.raises(RecipeError, match=r"r\.yaml cannot be read: it has 1048589 bytes"):
        load(tmp_path / "child.yaml")
    bomb = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    file.write_text(f"a0: &a0 x\n{bomb}")
    with pytest.raises(RecipeError, match="an alias at or after"):
        load(file)


def test_circular_links_are_reported_when_they_are_opened(tmp_path: Path) -> None:
    file, other = tmp_path / "r.yaml", tmp_path / "other.yaml"
    file.symlink_to("other.yaml")
    other.symlink_to("r.yaml")
    with pytest.raises(RecipeError, match=r"r\.yaml cannot be read: Too many levels of symbolic links"):
        load(file)
    (tmp_path / "child.yaml").write_text("extends: r.yaml\n")
    with pytest.raises(RecipeError, match=r"r\.yaml cannot be read: Too many levels of symbolic links"):
        load(tmp_path / "child.yaml")


def test_a_file_without_data_yet_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "r.yaml"  # stands for /proc/kmsg, which appears regular, but which only root may read
    file.write_text("kind: phase\n")
    reading, writing = os.pipe()
    real = os.open
    monkeypatch.setattr("talkies.config.regular_files.stat.S_ISREG", lambda _: True)
    monkeypatch.setattr(
        "talkies.config.regular_files.os.open",
        lambda path, flags, *rest: _unblocked(reading) if path == file else real(path, flags, *rest),
    )
    with pytest.raises(RecipeError, match=r"r\.yaml cannot be read: it has to be waited for"):
        load(file)
    os.close(writing)


def _unblocked(descriptor: int) -> int:
    os.set_blocking(descriptor, False)
    return descriptor


def test_a_recipe_of_an_older_schema_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the file that it extends. Overrides use the newest schema, and so do recipes without a number."""
    write(tmp_path, "base.yaml", "schema: 1\nold: 1\nkept: 2\n")
    path = write(tmp_path, "x.yaml", "extends: base.yaml\nschema: 1\n")
    rename = lambda values: {"new" if key == "old" else key: value for key, value in values.items()}  # noqa: E731
    monkeypatch.setattr(source, "migrated", partial(migrated, migrations=(rename,)))
    assert load(path, ["kept=3"]).values == {"new": 1, "kept": 3}
    assert load(path, ["new=3"]).values == {"new": 3, "kept": 2}
    newest = write(tmp_path, "newest.yaml", "old: 1\n")
    assert load(newest).values == {"old": 1}


@pytest.mark.parametrize(
    ("base", "top", "expected"),
    [
        ("", "schema: 1", "x.yaml is of `schema` 1, and base.yaml, which it extends, of `schema` 3 (3 if a file"),
        ("schema: 1", "", "x.yaml is of `schema` 3, and base.yaml, which it extends, of `schema` 1 (3 if a file"),
        ("schema: x", "schema: 1", "x.yaml is of `schema` 1, and base.yaml, which it extends, of `schema` 'x' "),
    ],
)
def test_files_of_different_schemas_are_not_merged(tmp_path: Path, base: str, top: str, expected: str) -> None:
    """Which of them an old name, or a key that is absent, is from could not be seen afterwards."""
    write(tmp_path, "base.yaml", f"kind: phase\n{base}\n")
    message = refused(write(tmp_path, "x.yaml", f"extends: base.yaml\n{top}\n"))
    assert expected in message
    assert message.endswith("write both in one schema")


def test_files_that_state_one_schema_are_merged(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "schema: 3\na: 1\n")
    assert load(write(tmp_path, "x.yaml", "extends: base.yaml\nb: 2\n")).values == {"a": 1, "b": 2}


@pytest.mark.parametrize("schema", ["99", "0", "x", "~"])
def test_an_unknown_schema_is_refused_with_its_place(tmp_path: Path, schema: str) -> None:
    message = refused(write(tmp_path, "x.yaml", f"kind: phase\nschema: {schema}\n"))
    assert "`schema` is " in message
    assert message.endswith("this version reads 1 to 3 (x.yaml:2)")
