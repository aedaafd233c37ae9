"""Verified copies of bundles on this machine's disk, and what was served last: enough to start without the registry.

v3-9f2c…/          the files of a version, verified again at every load
v3-9f2c….tried     the digest of the manifest that passed its trial; written first, and touched whenever the copy is opened
last-41ab….json    what was served last of an alias of a registry

Any number of processes may share the folder, without locks: files and folders appear whole, under names that mean one content, and what
somebody may be at is left alone by age.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from cxr import durable
from cxr.bundle import Bundle
from cxr.graphs import installed
from cxr.host import fastest
from cxr.manifest import MANIFEST, BundleError, Manifest, digest_of, read_manifest
from cxr.precision import ways
from cxr.signature import NotSigned, fingerprint, verify
from serving.settings import Settings
from serving.trial import tried

KEPT = 3  # versions on disk beside those that were served last: what a roll-back may return to
UNDER_WAY_SECONDS = 3600  # a copy, or a download, that was touched since may be in use: longer than any download and trial take
Fetch = Callable[[Path], Path]


class BundleCache:
    """Folder of bundles. A key names one version for good: equal keys are equal files."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._folder = settings, settings.cache_dir

    def bundle(self, key: str, fetch: Fetch) -> tuple[Bundle, str | None]:
        """The bundle, and the fingerprint of the key that signed it. `fetch` downloads into a folder and says where the files are.

        Raises BundleError for what must not be served; a damaged copy is thrown away and fetched again.
        """
        if (self._folder / key).is_dir():
            try:
                return self._open(key)
            except BundleError:
                self.forget(key)
        # Into a temporary folder first: what stands under the final name was complete and verified once.
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="download-") as temporary:
            got = fetch(Path(temporary))
            read_manifest(got)
            self._signer(got)
            self._try(got)
            durable.write(self._mark(key), _digest(got).encode())
            try:
                got.rename(self._folder / key)
            except OSError:
                if not (self._folder / key).is_dir():  # else another process was first
                    raise
        self._prune()
        return self._open(key)

    def _open(self, key: str) -> tuple[Bundle, str | None]:
        folder = self._folder / key
        signer = self._signer(folder)
        if not self._mark(key).is_file() or self._mark(key).read_bytes() != _digest(folder).encode():
            raise BundleError("the copy on disk was not tried yet")
        with suppress(OSError):  # on a disk that is read only nothing is pruned either
            os.utime(self._mark(key))
        return self._laid_out(folder), signer

    def _try(self, folder: Path) -> None:
        settings = self._settings
        engine = "" if settings.engine == "auto" else settings.engine
        tried(folder, settings.threads, settings.max_bundle_memory, settings.trial_seconds, engine)

    def _laid_out(self, folder: Path) -> Bundle:
        """For this host: one core each for predictions that come together, all of them for one that comes alone."""
        settings = self._settings
        engines = installed() if settings.engine == "auto" else (settings.engine,)
        proofs = Manifest.model_validate_json((folder / MANIFEST).read_bytes()).proofs if settings.precision == "auto" else {}
        engine, precision = fastest(folder, ways(proofs, engines), self._folder / "engines.json")
        return Bundle(folder, settings.threads, engine, settings.workers, settings.alone, precision)

    def _signer(self, folder: Path) -> str | None:
        trusted = self._settings.trusted
        if not trusted:
            return None
        try:
            return fingerprint(verify(folder, (folder / MANIFEST).read_bytes(), trusted))
        except (NotSigned, OSError) as error:
            raise BundleError(str(error), "unsigned") from error

    def forget(self, key: str) -> None:
        shutil.rmtree(self._folder / key, ignore_errors=True)
        self._mark(key).unlink(missing_ok=True)

    def _mark(self, key: str) -> Path:
        return self._folder / f"{key}.tried"

    def _prune(self) -> None:
        """Forget the copies that were opened longest ago, but for those that were served last and those somebody may be opening."""
        served = {noted[1] for path in self._folder.glob("last-*.json") if (noted := _noted(path))}
        marks = sorted(self._ages("*.tried"))
        for age, mark in marks[KEPT:]:
            if age > UNDER_WAY_SECONDS and mark.stem not in served:
                self.forget(mark.stem)

    def _sweep(self) -> None:
        """Throw away what processes that were killed have downloaded."""
        for age, left in self._ages("download-*"):
            if age > UNDER_WAY_SECONDS:
                shutil.rmtree(left, ignore_errors=True)

    def _ages(self, pattern: str) -> Iterator[tuple[float, Path]]:
        """Seconds since each was touched."""
        for path in self._folder.glob(pattern):
            with suppress(FileNotFoundError):  # another process prunes too
                yield time.time() - path.stat().st_mtime, path

    def remember(self, place: str, version: str, key: str) -> None:
        """Note what is served; `place` names registry, model and alias."""
        self._folder.mkdir(parents=True, exist_ok=True)
        durable.write(self._folder / f"last-{place}.json", json.dumps({"version": version, "key": key}).encode())

    def last(self, place: str) -> tuple[str, str] | None:
        """(version, key) that was noted last; None when there is no note, or no copy of what it names."""
        noted = _noted(self._folder / f"last-{place}.json")
        return noted if noted and (self._folder / noted[1]).is_dir() else None


def _noted(path: Path) -> tuple[str, str] | None:
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        return str(noted["version"]), str(noted["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(folder: Path) -> str:
    path = folder / MANIFEST
    return digest_of(path.read_bytes()) if path.is_file() else "none"
