"""Checks of a tracking store without opening it, long before anything is sent there."""

from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from talkies.config import RecipeError, TrackingError
from talkies.config.places import SQLITE
from talkies.config.secrets import masked
from talkies.tracking.mlflow_run import DATABASES


def check_opens(uri: str) -> None:
    """TrackingError if the folder of a SQLite file is not there; RecipeError if no driver for the database is
    installed. Contacts no server."""
    scheme = urlsplit(uri).scheme
    if uri.startswith(SQLITE):
        folder = Path(uri.removeprefix(SQLITE)).parent
        if not folder.is_dir():
            raise TrackingError(
                f"tracking: {masked(uri)}: there is no folder {folder}; make it or set another `tracking.uri`"
            )
    elif scheme.partition("+")[0] in DATABASES:
        _check_driver(uri)


def _check_driver(uri: str) -> None:
    try:
        make_url(uri).get_dialect().import_dbapi()
    except (ImportError, SQLAlchemyError) as error:
        raise RecipeError(
            f"tracking: {masked(uri)} cannot be opened here: {error}; install the database's driver, name one that is "
            "(as in postgresql+psycopg2://), or set another `tracking.uri`"
        ) from None
