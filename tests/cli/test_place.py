"""The runs folder of a command."""

import os
from pathlib import Path

import pytest

from talkies.cli.place import store_of
from talkies.config import RecipeError


def test_a_runs_folder_whose_path_is_not_utf8_is_refused_at_once(tmp_path: Path) -> None:
    """Otherwise training would work, but its tracking could never be sent."""
    for uri in (None, "http://127.0.0.1:5000"):
        with pytest.raises(RecipeError, match="is not UTF-8, so no tracking store can name it"):
            store_of(tmp_path / os.fsdecode(b"r\xff"), uri)
    assert list(tmp_path.iterdir()) == []
    assert store_of(tmp_path / "caf\u00e9", None)[0].endswith("caf\u00e9/mlflow.db")
