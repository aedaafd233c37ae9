"""The folder on this machine that a store keeps its files in: whether it is there, and a database that was moved or copied with it.

MLflow writes absolute URIs into its database, of every experiment, run, model and version, and has no call that changes them. Without
`follow` a state that was moved would find none of its files, and one that was copied would write into the original.
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
WAIT_SECONDS = 60  # for others that write to the database


def folder_of(uri: str) -> Path | None:
    """The folder that a file:// URI names; None for what lies elsewhere."""
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def of_run(uri: str) -> str:
    """The location of the experiment that a run keeps its files in, <location>/<run>/artifacts."""
    return uri.rsplit("/", 2)[0]


def away(client: MlflowClient, location: str | None) -> str | None:
    """What is wrong with a folder of this machine that finished runs have their files in and that is missing, or empty as the place is
    where a disk is not mounted: whoever went on would write there, and take everything for lost. None: nothing, or no such folder."""
    folder = folder_of(location or "")
    if folder is None or _has_files(folder):
        return None
    there = [experiment.experiment_id for experiment in client.search_experiments() if experiment.artifact_location == location]
    for kind in ("unit", "segmenter"):
        wanted = f"tags.`mdmt.kind` = '{kind}' and attributes.status = 'FINISHED'"
        if there and client.search_runs(there, wanted, max_results=1):
            return (
                f"{folder} is missing or empty, and files of finished runs belong there: bring it back (mount its disk, move it back), "
                "then go on; nothing was changed. If they are gone for good, begin anew with another MDMT_HOME"
            )
    return None


def lies_in(home: Path, uri: str) -> bool:
    """Whether the store is an SQLite file of this home, whose files therefore belong beside it."""
    try:
        url = make_url(uri)
    except ArgumentError:
        return False
    return (
        url.get_backend_name() == "sqlite" and bool(url.database) and Path(str(url.database)).resolve().parent == home.resolve()
    )


def follow(uri: str, root: Path) -> None:
    """Have the database at `uri` name `root` wherever it names the "artifacts" of a home that it was moved or copied from. What lies in the
    old place alone keeps its URI, and so does everything while nothing lies in the new one. The caller holds the store's lock."""
    engine = create_engine(uri, poolclass=NullPool, connect_args={"timeout": WAIT_SECONDS})
    new = root.as_uri()
    with engine.begin() as connection:
        named = connection.execute(text("SELECT DISTINCT artifact_location FROM experiments")).scalars().all()
        for old in {str(uri) for uri in named if uri and uri.startswith("file://") and uri.endswith("/artifacts")} - {new}:
            if not _has_files(root) and _has_files(folder_of(old)):
                continue
            for table, column in PLACES:
                below = f"SELECT DISTINCT {column} FROM {table} WHERE {column} = :old OR substr({column}, 1, :n) = :old || '/'"
                for was in connection.execute(text(below), {"old": old, "n": len(old) + 1}).scalars().all():
                    becomes = new + was.removeprefix(old)
                    if was == old or not _exists(was) or _exists(becomes):
                        change = text(f"UPDATE {table} SET {column} = :becomes WHERE {column} = :was")
                        connection.execute(change, {"becomes": becomes, "was": was})


def _exists(uri: str) -> bool:
    folder = folder_of(uri)
    return folder is not None and folder.exists()


def _has_files(folder: Path | None) -> bool:
    return folder is not None and folder.is_dir() and any(folder.iterdir())
