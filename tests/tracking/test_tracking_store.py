"""Opening MLflow."""

import os
from pathlib import Path

import pytest

from talkies.config import TrackingError
from talkies.tracking import store as store_module
from talkies.tracking.store import cut, open_client

TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"


def test_the_timeout_is_the_callers_unless_the_user_set_one(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_set", dict(store_module._set))
    monkeypatch.setenv(TIMEOUT, "")  # so that it is restored even if it was not there
    monkeypatch.delenv(TIMEOUT)
    open_client(store)
    assert os.environ[TIMEOUT] == "5"
    open_client(store, timeout_s=60)
    assert os.environ[TIMEOUT] == "60"
    monkeypatch.setenv(TIMEOUT, "7")
    open_client(store)
    assert os.environ[TIMEOUT] == "7"


def test_no_telemetry_is_sent(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.telemetry import get_telemetry_client

    monkeypatch.setattr("mlflow.telemetry.utils._IS_IN_CI_ENV_OR_TESTING", False)  # or pytest alone silences it
    open_client(store)
    assert get_telemetry_client() is None
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_an_unreachable_store_is_one_line(tmp_path: Path) -> None:
    for uri in ("http://127.0.0.1:9", f"sqlite:///{tmp_path / 'gone' / 'mlflow.db'}"):
        with pytest.raises(TrackingError) as caught:
            open_client(uri)
        assert uri in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_long_text_is_cut_visibly() -> None:
    assert cut("a" * 20, 20) == "a" * 20
    assert cut("a" * 21, 20) == "a" * 14 + " [cut]"
