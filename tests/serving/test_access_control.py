"""Who may ask: closed unless listed, and keys with scopes."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from typer.testing import CliRunner

from serving.app import create_app
from serving.authorization import PUBLIC, PUBLIC_BELOW, NotLoopback, check_open, is_public
from serving.commands import keys_app
from serving.keys import KeyFileError, add_key, read_keys, revoke_key
from serving.security_headers import SECURITY
from serving.settings import Settings
from tests.serving.conftest import bearer, service, wait_for
from tests.serving.test_refusals import PNG, assert_problem
from tests.serving.tiny_bundle import encoded, film, loader


class Guarded:
    """A client of a service with keys, and one key of each scope."""

    def __init__(self, client: TestClient, file: Path) -> None:
        self.client, self.file = client, file
        self.predict, self.admin = (add_key(file, scope, (scope,)) for scope in ("predict", "admin"))


@pytest.fixture(scope="module")
def guarded(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    add_key(file, "first", ("predict",))
    with service(loader(bundle_folder), keys_file=file, rate=10_000) as client:
        yield Guarded(client, file)


def routes_of(app: object) -> set[tuple[str, str]]:
    """(method, path) of everything that the application answers, whatever included it, with its parameters filled in."""
    found = set()
    pending = list(app.routes)
    while pending:
        route = pending.pop()
        pending += list(getattr(getattr(route, "original_router", None), "routes", None) or getattr(route, "routes", None) or [])
        if getattr(route, "methods", None):
            path = re.sub(r"{[^}]+}", "x", route.path)
            found |= {(method, path) for method in route.methods}
    return found


def test_every_route_without_a_key_is_401_unless_it_is_on_the_public_list(guarded: Guarded) -> None:
    routes = routes_of(guarded.client.app)
    assert {
        ("POST", "/predict"),
        ("POST", "/admin/reload"),
        ("GET", "/metrics"),
        ("GET", "/model"),
        ("GET", "/openapi.json"),
    } <= routes
    assert len(PUBLIC) <= 6
    for method, path in sorted(routes):
        answer = guarded.client.request(method, path)
        if is_public(path):
            assert answer.status_code != 401, path
        elif method == "HEAD":
            assert answer.status_code == 401, path
        else:
            assert_problem(answer, 401, "no-key")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert "X-Model-Version" not in answer.headers


@given(st.text(st.characters(codec="ascii", exclude_categories=("C",)), max_size=20))
def test_a_path_that_nobody_listed_is_closed(path: str) -> None:
    if f"/{path}" not in PUBLIC and not path.startswith(PUBLIC_BELOW[1:]):
        assert not is_public(f"/{path}")


@pytest.mark.parametrize("path", ["/livez/", "/page", "/livez/../predict", "/Livez"])
def test_paths_that_look_public_are_closed(guarded: Guarded, path: str) -> None:
    assert guarded.client.get(path, follow_redirects=False).status_code == 401


def test_public_answers_tell_nothing_about_a_version(guarded: Guarded) -> None:
    assert guarded.client.get("/livez").json() == {"status": "alive"}
    assert guarded.client.get("/").status_code == 200


def test_a_key_with_scope_predict_may_predict_and_not_administer(guarded: Guarded) -> None:
    sent = {**PNG, **bearer(guarded.predict)}
    assert guarded.client.post("/predict", content=encoded(film()), headers=sent).status_code == 200
    assert guarded.client.get("/metrics", headers={"X-API-Key": guarded.predict}).status_code == 200
    assert_problem(guarded.client.post("/admin/reload", headers=bearer(guarded.predict)), 403, "wrong-scope")
    assert guarded.client.post("/admin/reload", headers=bearer(guarded.admin)).status_code == 200
    assert guarded.client.get("/model", headers=bearer(guarded.admin)).status_code == 200


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MDMT_KEYS_FILE", "MDMT_HOSTS", "MDMT_TRUSTED_KEYS", "MDMT_RATE", "MDMT_AUDIT_KEY_FILE"):
        monkeypatch.setenv(name, "")
    assert Settings() == Settings(keys_file=None, hosts="", trusted_keys="", audit_key_file=None)
    with pytest.raises(NotLoopback):
        check_open(Settings(), "0.0.0.0")


def test_keys_that_are_none_are_refused_alike(guarded: Guarded) -> None:
    identity = guarded.predict.split("_")[1]
    secret = guarded.predict.split("_", 2)[2]
    wrong = [
        "",
        "x",
        guarded.predict[:-1],
        guarded.predict + "x",
        f"mdmt_{identity}_",
        f"mdmt_00000000_{secret}",
        "mdmt__",
        "m_m_m",
    ]
    digest = next(key.sha256 for key in read_keys(guarded.file).values() if key.id == identity)
    texts = set()
    for token in [*wrong, f"mdmt_{identity}_{digest}", f"other_{identity}_{secret}"]:
        body = assert_problem(guarded.client.get("/model", headers=bearer(token)), 401, "no-key")
        texts.add(body["detail"])
    assert_problem(guarded.client.get("/model", headers={"Authorization": f"Basic {guarded.predict}"}), 401, "no-key")
    assert len(texts) == 1


def test_a_revoked_key_is_refused_from_the_next_request_on_and_a_new_one_taken(guarded: Guarded) -> None:
    token = add_key(guarded.file, "leaver", ("predict",))
    assert guarded.client.get("/model", headers=bearer(token)).status_code == 200
    revoke_key(guarded.file, token.split("_")[1])
    assert guarded.client.get("/model", headers=bearer(token)).status_code == 401


def test_a_key_file_that_is_damaged_or_gone_lets_nobody_in_and_a_start_with_one_is_refused(
    bundle_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "keys.json"
    token = add_key(file, "one", ("admin",))
    with service(loader(bundle_folder), keys_file=file) as client:
        whole = file.read_bytes()
        file.write_bytes(whole[:-5])
        assert client.get("/model", headers=bearer(token)).status_code == 401
        file.unlink()
        assert client.get("/model", headers=bearer(token)).status_code == 401
        file.write_bytes(whole)
        assert client.get("/model", headers=bearer(token)).status_code == 200
        file.unlink()
    with pytest.raises(KeyFileError, match="mdmt keys new"):
        create_app(Settings(keys_file=file), loader(bundle_folder))


@pytest.mark.parametrize("variable", ["MDMT_KEYS_FILE", "MDMT_AUDIT_KEY_FILE"])
@pytest.mark.parametrize("content", [None, b"", b"\xff"])
def test_a_service_whose_secrets_cannot_be_read_does_not_start_and_says_so_in_a_sentence(
    tmp_path: Path, variable: str, content: bytes | None
) -> None:
    file = tmp_path / "secret-place" / "file"
    file.parent.mkdir()
    if content is not None:
        file.write_bytes(content)
    command = [sys.executable, "-m", "serving", "--port", "0"]
    ended = subprocess.run(command, env={**os.environ, variable: str(file)}, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: the ") and "file" in line


def test_a_list_of_trusted_keys_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="' , ', which names no key"):
        Settings(trusted_keys=" , ")


def test_keys_made_and_revoked_at_once_are_all_made_and_revoked(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    first = [add_key(file, f"first {n}", ("predict",)).split("_")[1] for n in range(4)]
    file.chmod(0o640)
    with ThreadPoolExecutor(8) as pool:
        made = [pool.submit(add_key, file, f"then {n}", ("predict",)) for n in range(8)]
        gone = [pool.submit(revoke_key, file, identity) for identity in first]
    assert [one.result().id for one in gone] == first
    assert {one.result().split("_")[1] for one in made} == set(read_keys(file))
    assert file.stat().st_mode & 0o777 == 0o640  # what an operator has let a group read stays so


def test_the_file_holds_no_key_and_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    token = add_key(file, "one", ("predict",))
    assert token.split("_", 2)[2] not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    with pytest.raises(KeyFileError, match="no key 'nobody'"):
        revoke_key(file, "nobody")


def test_keys_are_made_listed_and_revoked_on_the_command_line(tmp_path: Path) -> None:
    run, file = CliRunner(), tmp_path / "keys.json"
    made = run.invoke(keys_app, ["new", "ward 3", "--scope", "admin", "--file", str(file)])
    token = made.stdout.splitlines()[0]
    identity = token.split("_")[1]
    assert "ward 3" in run.invoke(keys_app, ["list", "--file", str(file)]).stdout
    assert run.invoke(keys_app, ["revoke", identity, "--file", str(file)]).exit_code == 0
    assert read_keys(file) == {}
    assert isinstance(run.invoke(keys_app, ["new", "x", "--scope", "root", "--file", str(file)]).exception, KeyFileError)


def test_every_answer_of_every_route_carries_the_security_headers(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [(method, path, key) for method, path in sorted(routes_of(guarded.client.app)) for key in ("", guarded.admin)]
    asked += [("GET", "/nowhere", guarded.admin), ("DELETE", "/predict", guarded.admin), ("POST", "/predict", guarded.admin)]
    statuses = set()
    for method, path, key in asked:
        answer = guarded.client.request(method, path, headers=bearer(key))
        statuses.add(answer.status_code)
        assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY, path
    monkeypatch.setattr("serving.routes.model.model_id", lambda loaded: 1 / 0)
    failed = guarded.client.get("/model", headers=bearer(guarded.admin))
    assert failed.status_code == 500
    assert {name: failed.headers.get(name) for name in SECURITY} == SECURITY
    assert {200, 401, 404, 405, 415} <= statuses
    policy = SECURITY["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "*" not in policy


def test_the_keys_id_and_never_the_key_is_in_the_log(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        guarded.client.get("/model", headers=bearer(guarded.predict))
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "serving.access"]
    assert lines[-1]["key"] == guarded.predict.split("_")[1]
    assert guarded.predict.split("_", 2)[2] not in caplog.text
    wait_for(guarded.client, 200)
