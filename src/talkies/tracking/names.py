"""Names that MLflow accepts, checked before anything runs: models, aliases, stores, `models:/...`."""

import re
from dataclasses import dataclass
from importlib.metadata import entry_points
from urllib.parse import urlsplit

from pydantic_core import PydanticCustomError

from talkies.config import RecipeError
from talkies.config.quoting import shown

PREVIOUS = "previous_"
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,128}")
_VERSION_ALIAS = re.compile(r"[vV]\d+")
_SPEC = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[1-9]\d*))")
_NAME_RULE = "a name of letters, digits, '.', '_' and '-' (no '/' or ':')"
_ALIAS_RULE = f"letters, digits, '_' and '-'; neither 'latest' nor v<number> nor {PREVIOUS}... (reserved)"
_STORES = ("postgresql", "mysql", "mssql", "databricks")
_STORE_RULE = "sqlite:///FILE, a server's https://... or a database URI, without a password and not a file store"


def valid_name(name: str) -> str:
    """`name`, if a registered model or an experiment (which also names a folder of artifacts) may have it; for
    pydantic."""
    return _checked(bool(_MODEL.fullmatch(name)), name, _NAME_RULE)


def valid_alias(alias: str) -> str:
    """`alias`, if promotion may move it; for pydantic."""
    reserved = alias.lower() == "latest" or _VERSION_ALIAS.fullmatch(alias) or alias.startswith(PREVIOUS)
    return _checked(bool(_ALIAS.fullmatch(alias)) and not reserved, alias, _ALIAS_RULE)


def valid_store(uri: str) -> str:
    """`uri`, if runs may be tracked there: MLflow has no file store since 3.13; for pydantic."""
    return _checked(_opens(uri) and urlsplit(uri).password is None, uri, _STORE_RULE)


def _opens(uri: str) -> bool:
    """Whether MLflow would try to open `uri`: a kind of store that it knows, with a server or a file in it."""
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:  # invalid brackets or port
        return False
    if not uri.isprintable():
        return False
    if parts.scheme in ("http", "https"):
        return bool(host) and " " not in uri
    if parts.scheme.partition("+")[0] == "sqlite":
        return not parts.netloc and len(parts.path) > 1
    others = {found.name for found in entry_points(group="mlflow.tracking_store")}
    return parts.scheme.partition("+")[0] in (*_STORES, *others)


def _checked(good: bool, value: str, rule: str) -> str:
    if not good:
        raise PydanticCustomError("name", "Input should be {rule}", {"rule": rule})
    return value


def check(name: str, alias: str) -> None:
    """RecipeError if `name` is not valid for a registered model, or `alias` cannot be moved."""
    for value, rule, valid in ((name, _NAME_RULE, valid_name), (alias, _ALIAS_RULE, valid_alias)):
        try:
            valid(value)
        except PydanticCustomError:
            raise RecipeError(f"registry: {shown(value)} must be {rule}") from None


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A parsed `models:/name@alias` or `models:/name/3`: exactly one of `alias` and `version` is set."""

    name: str
    alias: str | None
    version: str | None


def parse_spec(spec: str) -> ModelSpec:
    """The parts of `spec`; RecipeError if it has another form."""
    found = _SPEC.fullmatch(spec)
    if found is None or not _MODEL.fullmatch(found["name"]):
        raise RecipeError(f"registry: {shown(spec)} must be models:/NAME@ALIAS or models:/NAME/VERSION (a number)")
    return ModelSpec(name=found["name"], alias=found["alias"], version=found["version"])
