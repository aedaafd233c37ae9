"""A bundle is sealed: whatever was altered, added by path, or computes something else is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr.bundle import Bundle
from cxr.engine import Engine, softmax
from cxr.manifest import (
    FORMAT,
    GOLDEN,
    MANIFEST,
    NETWORK,
    REQUIRED,
    WEIGHTS,
    BundleError,
    digest_of,
    read_manifest,
    write_manifest,
)
from cxr.pipeline import PipelineSpec
from cxr.tasks import PROGNOSIS, SEVERITY
from tests.serving.tiny_bundle import DEVICE, SPEC, TEMPERATURES, encoded, film, write_bundle


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def folder(sealed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sealed, tmp_path / "bundle")


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_a_sealed_folder_loads_and_answers_its_golden_case(sealed: Path) -> None:
    bundle = Bundle(sealed)
    bundle.check_golden()
    assert bundle.tasks == (PROGNOSIS, SEVERITY)
    assert bundle.manifest.pipeline == SPEC
    assert bundle.digest == digest_of((sealed / MANIFEST).read_bytes())
    assert bundle.prepare((sealed / GOLDEN).read_bytes()).digest == bundle.manifest.golden.film_digest


@pytest.mark.parametrize("name", REQUIRED)
def test_one_changed_byte_in_any_file_is_refused(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} was altered"):
        Bundle(folder)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_file_is_refused_also_when_the_manifest_does_not_list_it(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"'{name}' is missing"):
        Bundle(folder)
    rewrite(folder, lambda manifest: manifest["files"].pop(name))
    with pytest.raises(BundleError, match=f"lists no {name}"):
        Bundle(folder)


@pytest.mark.parametrize("path", ["../x", "sub/x", "absolute", "..", "."])
def test_a_file_outside_of_the_folder_is_refused_even_with_the_right_digest(folder: Path, path: str) -> None:
    (folder / "sub").mkdir()
    for place in (folder.parent / "x", folder / "sub/x"):
        place.write_bytes(b"x")
    name = str(folder.parent / "x") if path == "absolute" else path
    rewrite(folder, lambda manifest: manifest["files"].update({name: digest_of(b"x")}))
    with pytest.raises(BundleError, match="not a plain file of the bundle's folder"):
        Bundle(folder)


def test_a_symbolic_link_is_refused_even_to_the_right_content(folder: Path) -> None:
    (folder / NETWORK).rename(folder.parent / "elsewhere")
    (folder / NETWORK).symlink_to(folder.parent / "elsewhere")
    with pytest.raises(BundleError, match="not a plain file"):
        Bundle(folder)


def test_another_format_is_refused_by_number(folder: Path) -> None:
    rewrite(folder, lambda manifest: manifest.update(format=FORMAT + 1))
    with pytest.raises(BundleError, match=f"has format {FORMAT + 1}; this service reads format {FORMAT}"):
        Bundle(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.pop("golden"),
        lambda manifest: manifest.update(extra=1),
        lambda manifest: manifest["pipeline"].update(sise=1),
        lambda manifest: manifest["pipeline"].update(size="large"),
    ],
)
def test_missing_unknown_or_impossible_fields_are_refused(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    rewrite(folder, change)
    with pytest.raises(BundleError, match="1 fields are missing or unknown"):
        Bundle(folder)


@pytest.mark.parametrize("content", [b"", b"not json", b"[]"])
def test_a_manifest_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError):
        read_manifest(folder)
    (folder / MANIFEST).unlink()
    with pytest.raises(BundleError, match=r"no bundle\.json"):
        read_manifest(folder)


@pytest.mark.parametrize("shift", [0.002, -0.002])
def test_a_golden_case_that_comes_out_differently_is_refused(tmp_path: Path, shift: float) -> None:
    with pytest.raises(BundleError, match=r"0\.0020 away"):
        Bundle(write_bundle(tmp_path, shift=shift)).check_golden()
    Bundle(write_bundle(tmp_path, shift=shift / 10)).check_golden()


def test_a_network_that_answers_not_a_number_is_refused_in_whichever_task(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for task in (PROGNOSIS, SEVERITY):
        bundle = Bundle(sealed)
        answer = bundle.engine.probabilities
        nan = np.full((1, len(task.classes)), np.nan)
        monkeypatch.setattr(bundle.engine, "probabilities", lambda x, a=answer, t=task, n=nan: a(x) | {t.name: n})
        with pytest.raises(BundleError, match="no number"):
            bundle.check_golden()


def test_a_golden_case_of_other_tasks_is_refused(folder: Path) -> None:
    rewrite(folder, lambda manifest: manifest["golden"]["probabilities"].pop("severity"))
    with pytest.raises(BundleError, match="records"):
        Bundle(folder).check_golden()


def test_a_prediction_is_the_prepared_film_through_the_engine_at_the_recorded_temperature(sealed: Path) -> None:
    bundle, data = Bundle(sealed), encoded(film(seed=5))
    prediction = bundle.predict(data)
    made = bundle.prepare(data)
    assert prediction.film.digest == made.digest
    unscaled = Engine((sealed / NETWORK).read_bytes(), bundle.tasks, dict.fromkeys(TEMPERATURES, 1.0))
    plain = unscaled.probabilities(made.pixels[None])
    for task in bundle.tasks:
        answer = prediction.answers[task.name]
        logits = np.log(plain[task.name])  # up to a constant, which softmax does not see
        np.testing.assert_allclose(answer.probabilities, softmax(logits, TEMPERATURES[task.name])[0], rtol=1e-6)
        assert sum(answer.probabilities) == pytest.approx(1)
        assert answer.probabilities != pytest.approx(plain[task.name][0].tolist(), abs=1e-4)
        assert (answer.index, answer.label) == (np.argmax(plain[task.name]), task.classes[answer.index])


def test_a_batch_is_answered_as_its_films_are_one_by_one(sealed: Path) -> None:
    engine = Bundle(sealed).engine
    films = np.random.default_rng(0).integers(0, 256, (5, SPEC.size, SPEC.size), dtype=np.uint8)
    together = engine.probabilities(films)
    for i in range(5):
        for task, rows in engine.probabilities(films[i : i + 1]).items():
            np.testing.assert_allclose(rows[0], together[task][i], rtol=1e-6)


def test_a_third_task_travels_in_the_bundle_without_further_code(tmp_path: Path) -> None:
    bundle = Bundle(write_bundle(tmp_path, (DEVICE, PROGNOSIS)))
    bundle.check_golden()
    assert bundle.tasks == (DEVICE, PROGNOSIS)
    assert bundle.predict(encoded(film())).answers["device"].label in DEVICE.classes


def test_a_graph_without_the_output_of_a_task_is_refused(sealed: Path) -> None:
    with pytest.raises(ValueError, match="no output named device"):
        Engine((sealed / NETWORK).read_bytes(), (PROGNOSIS, DEVICE), TEMPERATURES)


def test_sealing_lists_the_weights_and_nothing_else_that_lies_there(folder: Path) -> None:
    old = read_manifest(folder)
    (folder / WEIGHTS).write_bytes(b"w")
    (folder / "notes.txt").write_text("left behind")
    write_manifest(folder, PipelineSpec(), (PROGNOSIS,), {"prognosis": 1.0}, old.golden, {})
    with pytest.raises(BundleError, match=r"'notes\.txt' is not listed"):
        read_manifest(folder)
    (folder / "notes.txt").unlink()
    assert set(read_manifest(folder).files) == {*REQUIRED, WEIGHTS}
    (folder / WEIGHTS).write_bytes(b"v")
    with pytest.raises(BundleError, match=f"{WEIGHTS} was altered"):
        read_manifest(folder)


def test_softmax_neither_overflows_nor_moves_a_label() -> None:
    logits = np.array([[1000.0, 999.0], [-1000.0, 0.0]])
    hot, cold = softmax(logits, 5.0), softmax(logits, 0.5)
    assert np.isfinite(hot).all() and np.isfinite(cold).all()
    np.testing.assert_array_equal(hot.argmax(axis=1), cold.argmax(axis=1))
    assert hot[0, 0] == pytest.approx(1 / (1 + np.exp(-0.2)))
    assert hot[0, 0] < cold[0, 0]


def test_a_golden_film_whose_box_moved_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    manifest["golden"]["box"][0] += 3
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="3 pixels away"):
        Bundle(tmp_path).check_golden()
