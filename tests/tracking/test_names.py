"""Names and recipe keys that MLflow would refuse later are refused now."""

import pytest

from talkies.config import RecipeError
from talkies.config.decode import decode_values
from talkies.tracking.config import TrackingConfig
from talkies.tracking.names import check, parse_spec


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("alias", "latest", "neither 'latest'"),
        ("alias", "v3", "v<number>"),
        ("alias", "previous_champion", "reserved"),
        ("register", "team/model", "no '/' or ':'"),
        ("register", "model:1", "no '/' or ':'"),
        ("uri", "file:///tmp/mlruns", "not a file store"),
        ("uri", "mlruns", "not a file store"),
        ("uri", "postgresql://me:secret@host/db", "without a password"),
        ("uri", "http://", "a server's https://"),
        ("uri", "htps://mlflow:5000", "a server's https://"),
        ("uri", "https://mlflow:70000", "a server's https://"),
        ("uri", "https://mlflow:port", "a server's https://"),
        ("uri", "https://[::1", "a server's https://"),
        ("uri", "https://my host", "a server's https://"),
        ("uri", "sqlite:///", "sqlite:///FILE"),
        ("uri", "sqlite://file.db", "sqlite:///FILE"),
        ("experiment", "a/b", "letters, digits"),
    ],
)
def test_a_recipe_with_a_bad_name_is_refused(key: str, value: str, allowed: str) -> None:
    with pytest.raises(RecipeError, match=f"`{key}` must be .*{allowed}"):
        decode_values(TrackingConfig, {"experiment": "toy", key: value}, where="x.yaml")


def test_good_names_decode() -> None:
    found = decode_values(
        TrackingConfig,
        {"experiment": "mova-toy", "uri": "https://mlflow:5000", "register": "mova.toy-2", "alias": "champion"},
        where="x.yaml",
    )
    assert (found.register, found.alias) == ("mova.toy-2", "champion")


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///mlflow.db",
        "sqlite:////runs/mlflow.db",
        "http://[::1]:5000",
        "postgresql+psycopg2://me@host/db",
        "mysql://host/db",
        "databricks://profile",
    ],
)
def test_stores_that_mlflow_opens(uri: str) -> None:
    assert decode_values(TrackingConfig, {"experiment": "toy", "uri": uri}, where="x.yaml").uri == uri


@pytest.mark.parametrize(("name", "alias"), [("a/b", "champion"), ("model", "v1"), ("model", "Latest")])
def test_check_names_what_is_wrong(name: str, alias: str) -> None:
    with pytest.raises(RecipeError, match=alias if name == "model" else name):
        check(name, alias)


def test_specs() -> None:
    assert parse_spec("models:/toy@champion").alias == "champion"
    assert parse_spec("models:/toy/12").version == "12"


@pytest.mark.parametrize(
    "spec", ["models:/toy", "models:/toy/latest", "models:/a/b@c", "models:/../x@y", "toy@champion"]
)
def test_other_specs_are_refused(spec: str) -> None:
    with pytest.raises(RecipeError, match="must be models:/NAME@ALIAS or models:/NAME/VERSION"):
        parse_spec(spec)
