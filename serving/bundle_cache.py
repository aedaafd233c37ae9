"""Verified copies of bundles on this machine's disk, and what the alias pointed to last: enough to start without the registry.

v3-9f2c…/          the files of a version, verified again at every load
v3-9f2c….tried     the digest of the manifest that passed its trial
last-41ab….json    what the alias of a registry pointed to last
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from cxr.bundle import Bundle
from cxr.graphs import installed
from cxr.host import fastest
from cxr.manifest import MANIFEST, BundleError, Manifest, digest_of, read_manifest
from cxr.precision import ways
from cxr.signature import NotSigned, fingerprint, verify
from serving.settings import Settings
from serving.trial import tried

KEPT = 3  # versions on disk: the one that is served, and those a roll-back may return to
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
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="download-") as temporary:
            got = fetch(Path(temporary))
            read_manifest(got)
            self._signer(got)
            self._try(got)
            digest = _digest(got)
            if not (self._folder / key).exists():
                got.rename(self._folder / key)
        self._mark(key).write_text(digest)
        self._prune(key)
        return self._open(key)

    def _open(self, key: str) -> tuple[Bundle, str | None]:
        folder = self._folder / key
        signer = self._signer(folder)
        if not self._mark(key).is_file() or self._mark(key).read_text() != _digest(folder):
            raise BundleError("the copy on disk was not tried yet")
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

    def _prune(self, newest: str) -> None:
        marks = sorted(self._folder.glob("*.tried"), key=lambda path: path.stat().st_mtime)
        for mark in marks[:-KEPT]:
            if mark.stem != newest:
                self.forget(mark.stem)

    def remember(self, place: str, version: str, key: str) -> None:
        """Note what the alias points to; `place` names registry, model and alias."""
        path = self._folder / f"last-{place}.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"version": version, "key": key}))
        fresh.rename(path)

    def last(self, place: str) -> tuple[str, str] | None:
        """(version, key) that was noted last; None when there is no note, or no copy of what it names."""
        try:
            noted = json.loads((self._folder / f"last-{place}.json").read_text())
            version, key = str(noted["version"]), str(noted["key"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return (version, key) if (self._folder / key).is_dir() else None


def _digest(folder: Path) -> str:
    path = folder / MANIFEST
    return digest_of(path.read_bytes()) if path.is_file() else "none"
