"""Without keys the service is for loopback, under loopback's names: a page of another site gets nowhere."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serving.authorization import NotLoopback, check_open, is_loopback
from serving.keys import add_key
from serving.server import serve
from serving.settings import Settings
from tests.serving.conftest import bearer, service
from tests.serving.test_refusals import PNG, assert_problem
from tests.serving.tiny_bundle import encoded, film, loader

REBOUND = ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "10.1.2.3", "169.254.169.254",
           "0.0.0.0", "[fe80::1]", "mdmt", "localhost.evil.example", "", "localhost:x", "[::1"]  # fmt: skip
LOOPBACK = ["127.0.0.1", "127.0.0.1:8000", "127.9.9.9:1", "localhost", "LOCALHOST:8000", "[::1]", "[::1]:8000"]


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_page_of_another_site_may_not_make_a_browser_ask(client: TestClient, headers: dict[str, str]) -> None:
    assert_problem(client.post("/admin/reload", headers=headers), 403, "cross-origin")
    assert_problem(client.post("/predict", content=encoded(film()), headers={**PNG, **headers}), 403, "cross-origin")


def test_the_services_own_page_may_ask(client: TestClient) -> None:
    own = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
    answer = client.post("/predict", content=encoded(film()), headers={**PNG, **own})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


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
