"""A rate for each key, counted by film, so that one key's flood is no other's."""

import base64
import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from serving.authorization import Bucket
from serving.client import wait_until_ready
from serving.keys import add_key
from serving.server import running
from serving.settings import Settings
from tests.serving.conftest import bearer, service
from tests.serving.test_refusals import PNG, assert_problem
from tests.serving.tiny_bundle import encoded, film, loader

RATE = 5.0


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


def test_a_rate_below_one_lets_a_request_through_all_the_same() -> None:
    bucket = Bucket(0.4)
    assert bucket.wait() == 0
    assert 0 < bucket.wait() <= 2.5


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
