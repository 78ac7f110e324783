"""Nothing in src unpickles: but the index of a checkpoint, by an unpickler that refuses code, after its hash; and what
`talkies import --pickle` was asked to read, with torch's `weights_only`."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "talkies"
UNPICKLERS = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
ALLOWED = ("checkpoints/tensors.py", "_Unpickler")
"""Where `pickle` is imported, and the class that may read one."""
ASKED_FOR = ("weights/pickled.py", "torch.load(path, map_location='cpu', weights_only=True, mmap=True)")
"""The one call that reads a pickle of tensors, where a user asks for it."""
LOADERS = {"torch.load", "numpy.load", "np.load", "torch.hub.load", "pickle.load", "pickle.loads", "yaml.load",
           "yaml.unsafe_load", "yaml.full_load"}  # fmt: skip


def offences(path: Path, text: str) -> Iterator[str]:
    """What a file does that could run what another file says."""
    name = path.as_posix()
    for node in ast.walk(ast.parse(text)):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if name != ALLOWED[0] and UNPICKLERS & {module.split(".")[0] for module in modules}:
            yield f"{where} imports {modules}"
        if isinstance(node, ast.keyword) and node.arg in ("weights_only", "allow_pickle", "trust_remote_code"):
            safe = node.arg == "weights_only"
            if not (isinstance(node.value, ast.Constant) and node.value.value is safe):
                yield f"{where} {node.arg}={ast.unparse(node.value)}"
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if called in LOADERS | {"eval", "exec", "__import__"} and (name, ast.unparse(node)) != ASKED_FOR:
            yield f"{where} calls {called}"


@pytest.mark.fault("s1", "malicious pickle in .pt/.ckpt", injected="a rule over the whole source")
def test_nothing_unpickles(record_outcome: Callable[..., None]) -> None:
    files = {path.relative_to(ROOT): path.read_text() for path in ROOT.rglob("*.py")}
    assert len(files) > 100
    assert [said for path, text in files.items() for said in offences(path, text)] == []
    tree = ast.parse(files[Path(ALLOWED[0])])
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    readers = [call for call in calls if "npickl" in call and "(" not in call]
    assert readers == [ALLOWED[1]], "the one that refuses code, in one place"
    record_outcome("no weights_only=False, no pickle but the verified index, and tensors that were asked for")


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path, weights_only=False)",
        "torch.load(path)",
        "f(weights_only=flag)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "exec(text)",
    ],
)
def test_the_rule_sees(text: str) -> None:
    assert [*offences(Path("other.py"), text)]
