"""MLflow: what a unit logs, and how its result is found again by fingerprint.

experiment    "mdmt-<recipe>"
parent run    one per (experiment of the paper, backbone, scheme), tagged with the recipe's digest; holds mean, sd and pooled metrics
child run     one per fold, tagged with its fingerprint; FINISHED only when every artifact is in place
"""

import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from training import artifact_root, runs
from training.store_lock import one_at_a_time

FINGERPRINT, KIND, GROUP, RECIPE, PARENT = (
    "mdmt.fingerprint",
    "mdmt.kind",
    "mdmt.group",
    "mdmt.recipe_digest",
    "mlflow.parentRunId",
)
PAGE = 1000
FEW = 20  # units that are asked for one by one: MLflow cannot be asked for several values of a tag at once
BATCH = 200  # runs asked for by their ids at once: the question travels in one request
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # the UI then opens on runs, not on traces
MLFLOW_FILES = ("MLmodel",)  # MLflow rewrites it on the way


class TrackingError(RuntimeError):
    """The tracking server cannot be used, or does not hold what it should."""


def default_uri(home: Path) -> str:
    return f"sqlite:///{(home / 'mlflow.db').resolve()}"


class Tracking:
    """A tracking server, or a database on this machine. `home` is where a local database's artifacts and lock live."""

    def __init__(self, uri: str, home: Path, ask: bool = True) -> None:
        """`ask`: make sure that it answers, and make a new database's tables; a worker need not, its runner has."""
        self.uri, self.home, self._files = uri, home, (home / "artifacts").resolve()
        self._local = not uri.startswith(("http://", "https://"))
        home.mkdir(parents=True, exist_ok=True)
        # The registry's own code asks a client without arguments for logged models, so the process-wide setting has to agree.
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        try:
            # MLflow creates the tables of a new database without a lock, as early as in the client's constructor: several processes
            # starting at once leave it unusable.
            with self.alone() if self._local else nullcontext():
                self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
                if ask:
                    self.client.search_experiments(max_results=1)
                    self.client.search_registered_models(max_results=1)
                    if artifact_root.lies_in(home, uri):
                        artifact_root.follow(uri, self._files)
        except (MlflowException, DBAPIError) as error:
            said = error.message if isinstance(error, MlflowException) else str(error.orig)
            raise TrackingError(
                f"no MLflow at {_without_password(uri)}: {said.splitlines()[0]}. Start it, or unset MLFLOW_TRACKING_URI"
            ) from error

    @property
    def claims_uri(self) -> str:
        """Database of the claims on units: MLflow's own when it is one (see `protocol.claims`); behind a tracking server that of
        MDMT_CLAIMS_URI, or a file in `home`, which is good for the runners that share that folder."""
        if not self._local:
            return os.environ.get("MDMT_CLAIMS_URI") or f"sqlite:///{(self.home / 'claims.db').resolve()}"
        return self.uri

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other process out that asks for this too: of all that use the same database, and behind a tracking server of all
        that keep their claims in the same place. Not reentrant. Raises StoreBusy when it is not to be had for minutes."""
        with one_at_a_time(self.claims_uri, self.home / "mlflow.lock"):
            yield

    def experiment(self, name: str) -> str:
        """Id of the MLflow experiment of that name, created when missing (by one process at a time).

        Raises TrackingError when it was deleted, or its files are away. A deleted one is not restored here: MLflow would restore with
        it every run that somebody had deleted by itself.
        """
        with self.alone():
            found = self.client.get_experiment_by_name(name)
            if found is not None and found.lifecycle_stage == "deleted":
                raise TrackingError(
                    f"the experiment {name!r} was deleted in MLflow, which keeps its name. To restore it with all its runs: "
                    f"`MLFLOW_TRACKING_URI={_without_password(self.uri)} mlflow experiments restore --experiment-id "
                    f"{found.experiment_id}`; to remove it for good: `mlflow gc --backend-store-uri DATABASE --experiment-ids …`"
                )
            location = self._files.as_uri() if self._local else None
            self._require_files(location if found is None else found.artifact_location)
            if found is not None:
                return str(found.experiment_id)
            try:
                return str(self.client.create_experiment(name, artifact_location=location, tags=EXPERIMENT_TAGS))
            except MlflowException as error:  # behind a server somebody with another lock may be quicker
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return str(self.client.get_experiment_by_name(name).experiment_id)

    def runs(self, **tags: str) -> list[Run]:
        """FINISHED runs of every experiment that carry all the tags (names without the "mdmt." prefix), newest first."""
        wanted = " and ".join([*(f"tags.`mdmt.{k}` = '{v}'" for k, v in tags.items()), "attributes.status = 'FINISHED'"])
        experiments = [e.experiment_id for e in self.client.search_experiments()]
        found: list[Run] = []
        page = None
        while True:
            batch = self.client.search_runs(experiments, wanted, max_results=PAGE, order_by=["start_time DESC"], page_token=page)
            found += batch
            page = batch.token
            if not page:
                return found

    def finished(self, among: Collection[str] | None = None) -> dict[str, Run]:
        """Fingerprint → its FINISHED run, of every experiment; of the units `among` these, or of all."""
        if among is not None and len(among) <= FEW:
            found = [run for fingerprint in among for run in self.runs(kind="unit", fingerprint=fingerprint)]
        else:
            found = self.runs(kind="unit")
        of_all = {run.data.tags[FINGERPRINT]: run for run in reversed(found)}
        return of_all if among is None else {fingerprint: of_all[fingerprint] for fingerprint in among if fingerprint in of_all}

    def finished_runs(self, run_ids: Iterable[str]) -> dict[str, Run]:
        """Fingerprint → its FINISHED run, of these runs: without listing all that the store holds."""
        ids, found = list(run_ids), list[Run]()
        experiments = [e.experiment_id for e in self.client.search_experiments()]
        for i in range(0, len(ids), BATCH):
            names = ", ".join(f"'{run_id}'" for run_id in ids[i : i + BATCH])
            wanted = f"attributes.run_id IN ({names}) and attributes.status = 'FINISHED'"
            found += self.client.search_runs(experiments, wanted, max_results=BATCH)
        return {run.data.tags[FINGERPRINT]: run for run in found}

    def lost(self, finished: Iterable[Run]) -> list[Run]:
        """Those of them whose files are not all in the artifact store; sixteen runs are asked about at a time.

        Raises TrackingError when it looks as if the store were away, and not files of theirs lost.
        """
        members = list(finished)
        with ThreadPoolExecutor(1 if self._local else 16) as pool:
            answers = pool.map(lambda run: runs.is_readable(self.client, run), members)
        lost = [run for run, ok in zip(members, answers, strict=True) if not ok]
        for root in {artifact_root.of_run(run.info.artifact_uri) for run in lost}:
            self._require_files(root)
        if len(lost) == len(members) > 1:
            raise TrackingError(
                f"all {len(lost)} finished runs look as if their files were lost, as of run {lost[0].info.run_id} in "
                f"{lost[0].info.artifact_uri}: bring the artifact store back. If they are gone for good, delete these runs in MLflow"
            )
        return lost

    def _require_files(self, location: str | None) -> None:
        """Raises TrackingError when finished runs have their files there and it is away."""
        if away := artifact_root.away(self.client, location):
            raise TrackingError(away)

    def _unreadable(self, what: str, remedy: str) -> TrackingError:
        """What to raise: with the store away, doing anything again is no remedy."""
        away = artifact_root.away(self.client, self._files.as_uri()) if self._local else None
        return TrackingError(away or f"{what}: {remedy}")

    def file_of(self, run: Run, name: str) -> Path:
        """Path of one small file of a run on this machine. Raises TrackingError when it cannot be read."""
        try:
            path = runs.local_copy(self.client, run, name, self.home / "results")
        except (MlflowException, OSError) as error:
            raise self._unreadable(f"run {run.info.run_id} has no readable {name!r}", "run the recipe again") from error
        if not path.is_file():
            raise self._unreadable(f"run {run.info.run_id} has no file {name!r}", "run the recipe again")
        return path

    def find(self, fingerprint: str) -> Run:
        """The FINISHED run of a fingerprint. Raises TrackingError when there is none."""
        runs = self.runs(kind="unit", fingerprint=fingerprint)
        if not runs:
            raise TrackingError(
                f"no finished run has fingerprint {fingerprint[:12]}…: run the recipe again, finished units are kept"
            )
        return runs[0]

    def artifact(self, fingerprint: str, name: str, folder: Path) -> Path:
        """Download one artifact of a finished unit into `folder`."""
        return self.download(self.find(fingerprint).info.run_id, name, folder)

    def download(self, run_id: str, name: str, folder: Path) -> Path:
        try:
            uri = f"runs:/{run_id}/{name}"
            return Path(download_artifacts(artifact_uri=uri, dst_path=str(folder), tracking_uri=self.uri))
        except (MlflowException, OSError) as error:
            what = f"run {run_id} has no readable artifact {name!r}"
            raise self._unreadable(what, "delete the run and run the recipe again") from error

    def parent_run(self, experiment_id: str, group: str, recipe_digest: str, tags: Mapping[str, str]) -> str:
        """The run that stands for a group of folds, created when missing."""
        return str(self.parent_runs(experiment_id, [group], recipe_digest, tags)[group].info.run_id)

    def parent_runs(
        self, experiment_id: str, groups: Iterable[str], recipe_digest: str, tags: Mapping[str, str]
    ) -> dict[str, Run]:
        """Group → the run that stands for it; found in one question, for there may be hundreds, and those that are missing made."""
        with self.alone():
            known = {run.data.tags[GROUP]: run for run in self.runs(kind="group", recipe_digest=recipe_digest)}
            for group in groups:
                if group not in known:
                    own = {KIND: "group", GROUP: group, RECIPE: recipe_digest, **tags, **runs.provenance()}
                    known[group] = self.client.create_run(experiment_id, tags=own, run_name=group)
                    self.client.set_terminated(known[group].info.run_id)
            return known

    def register(self, run_id: str, folder: Path, name: str, tags: Mapping[str, str]) -> int:
        """Log a folder as the run's model and register it as a new version of `name`; returns the version.

        The version exists only after its files were read back: MLflow registers sources that do not exist.
        """
        experiment_id = self.client.get_run(run_id).info.experiment_id
        model = self.client.create_logged_model(experiment_id, name=name, source_run_id=run_id, tags=dict(tags))
        self.client.log_model_artifacts(model.model_id, str(folder))
        self.client.finalize_logged_model(model.model_id, "READY")
        uri = f"models:/{model.model_id}"
        with tempfile.TemporaryDirectory() as copy:
            stored = Path(download_artifacts(artifact_uri=uri, dst_path=copy, tracking_uri=self.uri))
            missing = [f.name for f in folder.iterdir() if f.name not in MLFLOW_FILES and not _same(f, stored / f.name)]
        if missing:
            raise TrackingError(
                f"{', '.join(missing)} of {name} did not arrive in the artifact store: check its space and permissions"
            )
        with suppress(MlflowException):
            self.client.create_registered_model(name)
        version = self.client.create_model_version(name, source=uri, run_id=run_id, model_id=model.model_id, tags=dict(tags))
        return int(version.version)

    def version_with(self, name: str, tag: str, value: str) -> int | None:
        """Newest version of a registered model that carries the tag."""
        versions = self.client.search_model_versions(f"name = '{name}'")
        found = [int(v.version) for v in versions if v.tags.get(tag) == value]
        return max(found, default=None)

    def download_version(self, name: str, version: int, folder: Path) -> Path:
        """Files of a registered version. Raises TrackingError when they cannot be read."""
        try:
            uri = f"models:/{name}/{version}"
            files = Path(download_artifacts(artifact_uri=uri, dst_path=str(folder), tracking_uri=self.uri))
            return next(files.iterdir()).parent  # MLflow takes a folder that is gone for an empty one
        except (MlflowException, OSError, StopIteration) as error:
            raise self._unreadable(f"version {version} of {name} has no readable files", "register it again") from error

    def log_outcome(self, run_id: str, figures: Mapping[str, float], folder: Path | None = None) -> None:
        """Artifacts first: a run with metrics and no artifacts would look done."""
        if folder is not None:
            self.client.log_artifacts(run_id, str(folder))
        self.client.log_batch(run_id, metrics=runs.metrics_of(figures, 0))

    @contextmanager
    def run(self, experiment_id: str, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> Iterator["UnitRun"]:
        """An MLflow run that ends FINISHED, FAILED with an exception, or KILLED when interrupted."""
        run_id = runs.open_run(self.client, experiment_id, name, tags, params)
        try:
            yield UnitRun(self, run_id)
        except BaseException as error:
            self.client.set_terminated(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        self.client.set_terminated(run_id, "FINISHED")


class UnitRun:
    """An open run. One call per epoch, whatever the number of metrics."""

    def __init__(self, tracking: Tracking, run_id: str) -> None:
        self._tracking, self.run_id = tracking, run_id

    def log_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        self._tracking.client.log_batch(self.run_id, metrics=runs.metrics_of(figures, epoch))

    def log_outcome(self, figures: Mapping[str, float], folder: Path | None = None) -> None:
        self._tracking.log_outcome(self.run_id, figures, folder)


def _same(file: Path, copy: Path) -> bool:
    return copy.is_file() and copy.read_bytes() == file.read_bytes()


def _without_password(uri: str) -> str:
    try:
        return make_url(uri).render_as_string(hide_password=True)
    except ArgumentError:
        return uri
