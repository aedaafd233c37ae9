"""One graph, two engines: the same answer, on any number of threads, from any number of callers, and nothing sent home."""

import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr.graphs import ENGINES, Graph, installed
from tests.serving.tiny_bundle import SPEC, write_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def graphs(folder: Path) -> dict[str, Graph]:
    content = (folder / "model.onnx").read_bytes()
    return {engine: Graph(content, engine) for engine in installed()}


def films(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 1, SPEC.size, SPEC.size), dtype=np.uint8)


def test_both_engines_are_installed_for_development() -> None:
    assert installed() == ENGINES


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_engines_agree_to_rounding_on_any_batch(graphs: dict[str, Graph], seed: int, n: int) -> None:
    batch = films(n, seed)
    one, other = (graphs[engine].run(["prognosis", "severity"], {"film": batch}) for engine in ENGINES)
    for got, wanted in zip(one, other, strict=True):
        assert got.shape[0] == n
        np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_graph_says_what_it_takes_and_gives(graphs: dict[str, Graph], engine: str) -> None:
    graph = graphs[engine]
    assert graph.inputs == {"film": (None, 1, SPEC.size, SPEC.size)}
    assert {"prognosis", "severity"} <= set(graph.outputs)
    severity, prognosis = graph.run(["severity", "prognosis"], {"film": films(1, 0)})
    assert severity.shape == (1, 4) and prognosis.shape == (1, 2)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_graph_keeps_nothing_of_the_file_it_was_loaded_from(folder: Path, engine: str) -> None:
    content = (folder / "model.onnx").read_bytes()
    before = sys.getrefcount(content)
    graph = Graph(content, engine)
    gc.collect()
    assert sys.getrefcount(content) == before
    assert graph.run(["severity"], {"film": films(1, 0)})[0].shape == (1, 4)


@pytest.mark.parametrize("engine", ENGINES)
def test_callers_at_the_same_time_get_their_own_answers(graphs: dict[str, Graph], engine: str) -> None:
    batches = [films(1, seed) for seed in range(40)]
    alone = [graphs[engine].run(["severity"], {"film": batch})[0] for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: graphs[engine].run(["severity"], {"film": batch})[0], batches))
    np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_number_of_threads_and_streams_does_not_change_the_answer(
    folder: Path, graphs: dict[str, Graph], engine: str
) -> None:
    content, batch = (folder / "model.onnx").read_bytes(), films(2, 3)
    wanted = graphs[engine].run(["severity"], {"film": batch})[0]
    for threads, streams in ((2, 1), (1, 2)):
        graph = Graph(content, engine, threads=threads, streams=streams)
        np.testing.assert_array_equal(graph.run(["severity"], {"film": batch})[0], wanted)


def test_openvino_computes_in_float32_unless_asked_otherwise(folder: Path) -> None:
    content = (folder / "segmenter.onnx").read_bytes()
    film = np.random.default_rng(0).random((1, 1, 256, 256), dtype=np.float32)
    exact = 1 / (1 + np.exp(-40.0 * (np.float64(np.float32(0.4)) - film)))
    got = Graph(content, "openvino").run(["lungs"], {"film": film})[0]
    np.testing.assert_allclose(got, exact, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"engine": "tensorrt"}, r"engine 'tensorrt': choose one of onnxruntime, openvino"),
        ({"precision": "bfloat16"}, r"precision 'bfloat16' on onnxruntime: choose one of float32, int8"),
        (
            {"engine": "openvino", "precision": "float16"},
            r"precision 'float16' on openvino: choose one of float32, bfloat16, int8",
        ),
        ({"threads": 0}, r"0 threads on 1 streams: at least 1 of each"),
    ],
)
def test_what_cannot_be_asked_for_is_named_with_the_choice(folder: Path, wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Graph((folder / "model.onnx").read_bytes(), **wrong)  # type: ignore[arg-type]


def test_openvino_is_loaded_without_what_reports_to_its_makers(folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from cxr.graphs import Graph; "
        f"Graph(Path({str(folder / 'model.onnx')!r}).read_bytes(), 'openvino'); "
        "print([name for name in sys.modules if 'telemetry' in name or 'ovc' in name], 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"


def test_threads_that_are_the_first_to_ask_openvino_for_a_type_do_not_wait_for_each_other_for_ever() -> None:
    script = (
        "import sys, threading; sys.setswitchinterval(1e-6); from concurrent.futures import ThreadPoolExecutor; from cxr import graphs\n"
        "together = threading.Barrier(8)\n"
        "def ask(_):\n    openvino = graphs._quiet_openvino()\n    together.wait()\n    return openvino.Type.u8.to_dtype()\n"
        "print(len(list(ThreadPoolExecutor(8).map(ask, range(8)))))"
    )
    for _ in range(4):  # without the guard about half of them hang
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
        assert done.stdout.strip() == "8"


@pytest.mark.parametrize("engine", ENGINES)
def test_the_first_graphs_of_a_process_may_be_loaded_side_by_side(folder: Path, engine: str) -> None:
    script = (
        "from concurrent.futures import ThreadPoolExecutor; from pathlib import Path; from cxr.graphs import Graph; "
        f"content = Path({str(folder / 'model.onnx')!r}).read_bytes(); "
        f"print(len(list(ThreadPoolExecutor(4).map(lambda _: Graph(content, {engine!r}), range(4)))))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "4"
