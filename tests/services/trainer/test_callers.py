"""Pages of other sites get nowhere, under whatever name a browser knows the service."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.trainer.settings import Settings
from tests.services.trainer.ground import service, until, wait_for_ever
from training.tracking import default_uri

METHODS = [("GET", "/protocols"), ("POST", "/protocols"), ("DELETE", "/protocols/0123456789ab"), ("GET", "/docs"), ("GET", "/x")]


@pytest.fixture(scope="module")
def client(new_home: Callable[[], Path]) -> Iterator[TestClient]:
    home = new_home()
    settings = Settings(home=home, tracking_uri=default_uri(home), trainer_hosts="trainer, Mdmt.example.org")
    with service(settings, wait_for_ever) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        yield client


@pytest.mark.parametrize(("method", "path"), METHODS)
def test_a_page_whose_name_was_rebound_to_loopback_is_refused(client: TestClient, method: str, path: str) -> None:
    own = {"Host": "evil.example:18081", "Origin": "http://evil.example:18081", "Sec-Fetch-Site": "same-origin"}
    answer = client.request(method, path, headers=own)
    assert (answer.status_code, answer.headers["content-type"]) == (421, "application/problem+json")
    assert answer.json()["code"] == "unknown-host" and "MDMT_TRAINER_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "trainer:8080", "mdmt.example.org"])
def test_loopback_and_the_names_of_the_setting_are_answered(client: TestClient, host: str) -> None:
    own = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    assert client.get("/protocols", headers=own).status_code == 200
    assert client.post("/protocols", json={"recipe": "none"}, headers=own).json()["code"] == "invalid-recipe"


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_page_of_another_site_may_change_nothing(client: TestClient, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/protocols"), ("DELETE", "/protocols/0123456789ab")):
        answer = client.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "cross-origin")
    assert client.get("/protocols", headers=headers).headers.get("access-control-allow-origin") is None
