"""One request gets all cores, several get one each, and the answers are the same; connections that are kept alive do not stall."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import anyio
import pytest
import uvicorn
from starlette.testclient import TestClient

from cxr.bundle import Bundle
from serving.admission import Admission
from serving.readiness import LoadedBundle
from serving.server import bound
from tests.serving.conftest import service
from tests.serving.tiny_bundle import encoded, film


@pytest.fixture
def bundle(bundle_folder: Path) -> Bundle:
    return Bundle(bundle_folder, threads=1, streams=2, alone=2)


@pytest.fixture
def client(bundle: Bundle) -> Iterator[TestClient]:
    with service(lambda: LoadedBundle(bundle, "mdmt", "7", "champion"), workers=2) as client:
        yield client


def test_a_bundle_has_graphs_of_its_own_for_a_lone_request_and_answers_alike(bundle: Bundle) -> None:
    data = encoded(film(seed=3))
    assert (bundle.engine.graph.threads, bundle.alone.engine.graph.threads) == (1, 2)
    assert (bundle.segmenter.graph.threads, bundle.alone.segmenter.graph.threads) == (1, 2)
    assert bundle.predict(data).answers == bundle.alone.predict(data).answers
    assert bundle.segmenter.digest == bundle.alone.segmenter.digest


def test_one_number_of_threads_is_one_set_of_graphs(bundle_folder: Path) -> None:
    bundle = Bundle(bundle_folder, threads=2, alone=2)
    assert bundle.alone is bundle


def test_a_lone_request_is_computed_on_all_cores(client: TestClient, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    of_all = bundle.alone.engine.probabilities
    monkeypatch.setattr(bundle.alone.engine, "probabilities", lambda films: used.append(2) or of_all(films))
    for seed in range(3):
        assert client.post("/predict", content=encoded(film(seed=seed)), headers={"Content-Type": "image/png"}).status_code == 200
    assert used == [2, 2, 2]


def test_together_and_alone_a_film_gets_the_same_answer(client: TestClient) -> None:
    def ask(seed: int) -> object:
        body = client.post("/predict", content=encoded(film(seed=seed)), headers={"Content-Type": "image/png"}).json()
        return body["prognosis"], body["severity"], body["film"], body["lungs"]

    alone = [ask(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == alone


def test_only_who_is_alone_is_told_so() -> None:
    admission, told, go_on = Admission(workers=2, queue=2, max_held=1), [], Event()

    def first(alone: bool) -> None:
        told.append(alone)
        go_on.wait(10)

    def second(alone: bool) -> None:
        told.append(alone)
        go_on.set()

    async def both() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(admission.compute, first)
            while not told:
                await anyio.sleep(0.001)
            group.start_soon(admission.compute, second)

    anyio.run(both)
    assert told == [True, False]


def test_accepted_connections_send_at_once() -> None:
    with bound(uvicorn.Config("unused:app", host="127.0.0.1", port=0, log_config=None)) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
