"""Checks of a tracking store without contacting it."""

from pathlib import Path

import pytest

from talkies.config import RecipeError, TrackingError
from talkies.tracking.store import open_client
from talkies.tracking.store_check import check_opens

DRIVERLESS = ("mysql+nodriver://host/runs", "postgresql+nodriver:///runs", "sqlite+nodriver:////tmp/runs.db")


def test_a_store_that_may_answer_is_not_contacted(tmp_path: Path) -> None:
    for uri in (f"sqlite:///{tmp_path / 'mlflow.db'}", "http://127.0.0.1:9", "https://nobody.example", "other://x"):
        check_opens(uri)
    assert not [*tmp_path.iterdir()]


def test_a_database_without_a_driver_is_refused() -> None:
    for uri in DRIVERLESS:
        for opens in (check_opens, open_client):
            with pytest.raises(
                RecipeError, match=r"cannot be opened here: .*nodriver; install the database's driver, "
            ):
                opens(uri)


def test_a_file_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"there is no folder .*gone; make it or set another `tracking\.uri`"):
        check_opens(f"sqlite:///{tmp_path / 'gone' / 'mlflow.db'}")
