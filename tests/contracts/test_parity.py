"""Training and serving are one path: the same bytes give the same film, and torch, bundle and service the same answer."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from cxr.bundle import Bundle
from cxr.engine import softmax
from cxr.errors import FilmError
from cxr.manifest import CARD, GOLDEN, NETWORK, SEGMENTER, GoldenCase, write_manifest
from cxr.reading import read
from cxr.tasks import PROGNOSIS, SEVERITY
from tests.cxr.dicoms import dicom
from tests.serving.conftest import service
from tests.serving.tiny_bundle import SPEC, TEMPERATURES, encoded, film, loader, write_bundle
from tests.training.learning.tiny import noise, tiny_backbone
from training.data.cohort import Cohort, Row
from training.data.films import FilmStore, prepare_cohort
from training.learning.fitting import predict
from training.learning.network import Network, export_onnx

TASKS = (PROGNOSIS, SEVERITY)


def sixteen_bits() -> bytes:
    """MONOCHROME1, 12 of 16 bits: what a vendor stores and a PNG does not."""
    stored = (4095 - film(seed=5, size=200).astype(np.uint16) * 16).astype(np.uint16)
    return dicom(stored, bits=12, PhotometricInterpretation="MONOCHROME1")


FILES = {
    "a.png": encoded(film(seed=1)),
    "b.jpg": encoded(film(seed=2, size=240), "JPEG"),
    "c.dcm": dicom(film(seed=3)),
    "d.dcm": sixteen_bits(),
    "one-lung.png": encoded(film(lungs=1, seed=4)),
    "no-lungs.png": encoded(film(lungs=0, seed=6)),
    "blank.png": encoded(np.full((160, 160), 90, np.uint8)),
}


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    network = Network(tiny_backbone(), TASKS)
    network(torch.from_numpy(noise(8, size=SPEC.size))[:, None])  # statistics that are not those of a new BatchNorm
    return network.eval()


@pytest.fixture(scope="module")
def folder(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with a network that torch has exported."""
    folder = write_bundle(tmp_path_factory.mktemp("bundle"))
    export_onnx(network, SPEC.size, folder / NETWORK)
    assert {name: (folder / name).is_file() for name in (NETWORK, SEGMENTER, GOLDEN, CARD)} == dict.fromkeys(
        (NETWORK, SEGMENTER, GOLDEN, CARD), True
    )
    temperatures = {task.name: TEMPERATURES[task.name] for task in TASKS}
    blank = GoldenCase(probabilities={}, box=(0, 0, 0, 0), film_digest="")
    write_manifest(folder, SPEC, TASKS, temperatures, blank, {})
    known = Bundle(folder).predict((folder / GOLDEN).read_bytes())
    golden = GoldenCase(
        probabilities={name: list(answer.probabilities) for name, answer in known.answers.items()},
        box=tuple(known.film.box),
        film_digest=known.film.digest,
    )
    write_manifest(folder, SPEC, TASKS, temperatures, golden, {})
    return folder


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FilmStore:
    root = tmp_path_factory.mktemp("cohort")
    for name, content in FILES.items():
        (root / name).write_bytes(content)
    rows = tuple(Row(name, root / name, name, "A", {"prognosis": 0}) for name in sorted(FILES))
    return prepare_cohort(Cohort("parity", rows), tmp_path_factory.mktemp("films"), SPEC, folder / SEGMENTER, workers=1)


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with service(loader(folder)) as client:
        yield client


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return Bundle(folder)


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("no-lungs.png", "blank.png")])
def test_the_same_bytes_are_the_same_film_and_the_same_answer_everywhere(
    name: str, network: Network, store: FilmStore, bundle: Bundle, client: TestClient
) -> None:
    entry, prepared = store.entries[name], bundle.prepare(FILES[name])
    answered = client.post("/predict", content=FILES[name], headers={"Content-Type": "application/octet-stream"}).json()
    assert entry["digest"] == prepared.digest == answered["film"]["digest"]
    assert entry["verdict"] == prepared.verdict == answered["lungs"]["verdict"]
    assert list(entry["box"]) == list(prepared.box) == answered["lungs"]["box"]

    pixels = np.array(store.pixels()[entry["slot"]])[None]
    assert np.array_equal(pixels[0], prepared.pixels)
    logits = predict(network, pixels)
    served = bundle.predict_film(prepared)
    for task in TASKS:
        over_http = [answered[task.name]["probabilities"][label] for label in task.classes]
        np.testing.assert_allclose(over_http, served.answers[task.name].probabilities, atol=1e-6)
        in_torch = softmax(logits[task.name], TEMPERATURES[task.name])[0]
        np.testing.assert_allclose(in_torch, over_http, atol=1e-4)


@pytest.mark.parametrize("name", ["no-lungs.png", "blank.png"])
def test_what_training_leaves_out_the_service_refuses_by_the_same_name(
    name: str, store: FilmStore, bundle: Bundle, client: TestClient
) -> None:
    with pytest.raises(FilmError) as caught:
        bundle.prepare(FILES[name])
    answered = client.post("/predict", content=FILES[name], headers={"Content-Type": "application/octet-stream"})
    assert answered.status_code == 422
    assert answered.json()["type"] == f"/problems/{caught.value.code}"
    assert store.failures[name]["error"] == caught.value.code


def test_the_vendors_inversion_and_depth_do_not_show_in_the_film(store: FilmStore) -> None:
    plain = encoded(film(seed=5, size=200))
    assert read(plain).pixels.shape == read(FILES["d.dcm"]).pixels.shape
    assert np.corrcoef(read(plain).pixels.ravel(), read(FILES["d.dcm"]).pixels.ravel())[0, 1] > 0.99


def test_a_film_is_answered_alike_alone_and_among_others(store: FilmStore, bundle: Bundle) -> None:
    films = np.array([store.pixels()[entry["slot"]] for entry in store.usable.values()])
    together = bundle.engine.probabilities(films)
    for i in range(len(films)):
        for name, rows in bundle.engine.probabilities(films[i : i + 1]).items():
            np.testing.assert_allclose(rows[0], together[name][i], atol=1e-6)
