"""Imports go down the layer table only, function-level ones too."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "talkies"
ROWS = [
    ["signals"],
    ["config"],
    ["files", "streams"],
    ["nn", "flow", "media"],
    ["models", "codecs", "data", "launch"],
    ["parallel", "checkpoints", "world"],
    ["prepare", "generate", "resilience", "weights"],
    ["training", "evaluation"],
    ["planning", "tracking"],
    ["recipe"],
    ["runs"],
    ["cli"],
]
ROW = {package: row for row, packages in enumerate(ROWS) for package in packages}
FILES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """The talkies packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
            if node.module == "talkies":
                names = [f"talkies.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("talkies.")}
    return found


def allowed(source: str, target: str) -> bool:
    """Own package, or a row above."""
    return source == target or ROW[target] < ROW[source]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    parts = path.relative_to(ROOT).parts
    if len(parts) == 1:
        assert not imports(path)
        return
    bad = {target for target in imports(path) if not allowed(parts[0], target)}
    assert not bad, f"{parts[0]} may not import {bad}"


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.name in {"config.py", "__init__.py"}], ids=lambda p: str(p.relative_to(ROOT))
)
def test_config_modules_and_inits_are_light(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        heavy = [
            n for n in names if n.split(".")[0] in {"torch", "lightning", "mlflow", "transformers", "diffusers", "peft"}
        ]
        assert not heavy, f"{path} imports {heavy}"


def test_every_package_has_a_row() -> None:
    packages = {p.name for p in ROOT.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert packages <= set(ROW)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_in_a_circle_end_nothing(path: Path) -> None:
    """Path.resolve raises RuntimeError for them, which nobody expects: config/regular_files.py has `resolved`."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
    assert not [node.lineno for node in calls if node.attr == "resolve"]


def test_no_modules_import_each_other() -> None:
    """Not even for typing, nor within functions."""
    modules = {f"talkies.{'.'.join(path.relative_to(ROOT).with_suffix('').parts)}": path for path in FILES}
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                graph[name] |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} & modules.keys()
            elif isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names} & modules.keys()
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle
