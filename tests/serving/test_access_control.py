"""Who may ask: closed unless listed, keys with scopes, a rate for each, and nothing for pages of other sites."""

import base64
import http.client
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from typer.testing import CliRunner

from serving.app import create_app
from serving.authorization import PUBLIC, PUBLIC_BELOW, Bucket, NotLoopback, check_open, is_loopback, is_public
from serving.client import wait_until_ready
from serving.commands import keys_app
from serving.keys import KeyFileError, add_key, read_keys, revoke_key
from serving.security_headers import SECURITY
from serving.server import running, serve
from serving.settings import Settings
from tests.serving.conftest import service, wait_for
from tests.serving.test_refusals import PNG, assert_problem
from tests.serving.tiny_bundle import encoded, film, loader

RATE = 5.0


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


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


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
    app = create_app(Settings(keys_file=file), loader(bundle_folder))
    with pytest.raises(KeyFileError, match="mdmt keys new"), TestClient(app):
        pass


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


def test_each_key_has_a_rate_of_its_own(bundle_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    greedy, other = (bearer(add_key(file, name, ("predict",))) for name in ("greedy", "other"))
    with service(loader(bundle_folder), keys_file=file, rate=RATE) as client:
        started = time.monotonic()
        answers = [client.get("/model", headers=greedy) for _ in range(60)]
        accepted = sum(answer.status_code == 200 for answer in answers)
        assert accepted <= 2 * RATE + RATE * (time.monotonic() - started) + 1
        assert accepted >= 2 * RATE
        refused = next(answer for answer in answers if answer.status_code != 200)
        assert_problem(refused, 429, "too-many-requests")
        assert int(refused.headers["Retry-After"]) >= 1
        assert client.get("/model", headers=other).status_code == 200
        assert client.get("/livez").status_code == 200


def test_each_film_of_a_batch_and_of_v2_counts_as_a_request(bundle_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    data = encoded(film())
    batch = {"files": [("file", ("a.png", data)) for _ in range(8)]}
    tensor = {"name": "film", "shape": [8], "datatype": "BYTES", "data": [base64.b64encode(data).decode()] * 8}
    asked = {"/predict/batch": batch, "/v2/models/mdmt/infer": {"json": {"inputs": [tensor]}}}
    for path, body in asked.items():
        key = bearer(add_key(file, path, ("predict",)))
        with service(loader(bundle_folder), keys_file=file, rate=1.0) as client:
            assert client.post(path, headers=key, **body).status_code == 200
            refused = client.get("/model", headers=key)
            assert_problem(refused, 429, "too-many-requests")
            assert 3 <= int(refused.headers["Retry-After"]) <= 7  # eight films, two at once


@pytest.mark.long
@pytest.mark.parametrize("asked", [100, pytest.param(1_000, marks=pytest.mark.slow)])
def test_one_key_s_flood_leaves_another_s_requests_answered(bundle_folder: Path, tmp_path: Path, asked: int) -> None:
    file, data, ended = tmp_path / "keys.json", encoded(film()), threading.Event()
    greedy, modest = (bearer(add_key(file, name, ("predict",))) for name in ("greedy", "modest"))
    settings = Settings(keys_file=file, rate=20.0)

    def send(address: str, key: dict[str, str]) -> int:
        connection = http.client.HTTPConnection(address, timeout=60)
        try:
            connection.request("POST", "/predict", data, {**PNG, **key})
            return connection.getresponse().status
        finally:
            connection.close()

    def flood(address: str) -> list[int]:
        statuses = []
        while not ended.is_set():
            statuses.append(send(address, greedy))
        return statuses

    with running(settings, loader(bundle_folder)) as url, ThreadPoolExecutor(6) as pool:
        wait_until_ready(url)
        address = urlsplit(url).netloc
        flooding = [pool.submit(flood, address) for _ in range(6)]
        answered = []
        for _ in range(asked):
            answered.append(send(address, modest))
            time.sleep(1 / 15)  # below its rate
        ended.set()
        flooded = [status for one in flooding for status in one.result()]
    assert answered.count(200) >= 0.99 * asked
    assert flooded.count(429) > flooded.count(200) > 0
    assert set(flooded) <= {200, 429, 503}


def test_over_a_long_time_a_bucket_gives_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("serving.authorization.monotonic", lambda: now[0])
    bucket, accepted = Bucket(RATE), 0
    for _ in range(10_000):  # ten times the rate for 200 s
        accepted += bucket.wait() == 0
        now[0] += 0.02
    assert accepted == pytest.approx(200 * RATE, rel=0.05)


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_page_of_another_site_may_not_make_a_browser_ask(client: TestClient, headers: dict[str, str]) -> None:
    assert_problem(client.post("/admin/reload", headers=headers), 403, "cross-origin")
    assert_problem(client.post("/predict", content=encoded(film()), headers={**PNG, **headers}), 403, "cross-origin")


def test_the_services_own_page_may_ask(client: TestClient) -> None:
    own = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
    answer = client.post("/predict", content=encoded(film()), headers={**PNG, **own})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


REBOUND = ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "10.1.2.3", "169.254.169.254",
           "0.0.0.0", "[fe80::1]", "mdmt", "localhost.evil.example", "", "localhost:x", "[::1"]  # fmt: skip
LOOPBACK = ["127.0.0.1", "127.0.0.1:8000", "127.9.9.9:1", "localhost", "LOCALHOST:8000", "[::1]", "[::1]:8000"]


@pytest.mark.parametrize("host", REBOUND)
def test_without_keys_a_name_that_was_rebound_to_loopback_is_refused(client: TestClient, host: str) -> None:
    own = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}  # what a browser says of such a page
    assert "MDMT_HOSTS" in str(assert_problem(client.get("/model", headers=own), 421, "unknown-host")["detail"])
    assert_problem(client.post("/admin/reload", headers=own), 421, "unknown-host")
    assert_problem(client.post("/predict", content=encoded(film()), headers={**PNG, **own}), 421, "unknown-host")


@pytest.mark.parametrize("host", LOOPBACK)
def test_without_keys_loopback_may_be_called_as_one_likes(client: TestClient, host: str) -> None:
    assert client.get("/model", headers={"Host": host}).status_code == 200


def test_names_of_the_setting_are_answered_and_with_keys_any_until_it_is_set(bundle_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = bearer(add_key(file, "one", ("predict",)))

    def statuses(**settings: object) -> list[int]:
        with service(loader(bundle_folder), **settings) as client:
            hosts = "mdmt.example.org:443", "[FE80::1]", "evil.example", "localhost:1"
            return [client.get("/model", headers={**key, "Host": host}).status_code for host in hosts]

    names = "mdmt.Example.org, [fe80::1]"
    assert statuses(hosts=names) == [200, 200, 421, 200]
    assert statuses(hosts=names, keys_file=file) == [200, 200, 421, 200]
    assert statuses(keys_file=file) == [200, 200, 200, 200]


def test_of_two_hosts_both_must_be_known(client: TestClient) -> None:
    assert client.get("/livez", headers=[("Host", "localhost"), ("Host", "evil.example")]).status_code == 421


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


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_without_keys_loopback_is_served(host: str) -> None:
    assert is_loopback(host)
    check_open(Settings(), host)
    check_open(Settings(published_on=host), "0.0.0.0")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", "", "127.0.0.1.example.org"])
def test_without_keys_no_other_address_is_served(host: str, tmp_path: Path) -> None:
    with pytest.raises(NotLoopback, match="mdmt keys new"):
        check_open(Settings(), host)
    if host:
        with pytest.raises(NotLoopback):
            serve(Settings(published_on=host), "127.0.0.1", 0, lambda: None)
    check_open(Settings(keys_file=tmp_path / "keys.json"), host)


def test_the_keys_id_and_never_the_key_is_in_the_log(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        guarded.client.get("/model", headers=bearer(guarded.predict))
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "serving.access"]
    assert lines[-1]["key"] == guarded.predict.split("_")[1]
    assert guarded.predict.split("_", 2)[2] not in caplog.text
    wait_for(guarded.client, 200)
