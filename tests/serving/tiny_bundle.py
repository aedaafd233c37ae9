"""A real bundle of a few kilobytes, and synthetic films for it: bright ground with two dark ellipses in place of lungs."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from cxr.bundle import Bundle
from cxr.conformal import SetLimits
from cxr.engine import EVIDENCE
from cxr.manifest import CARD, GOLDEN, NETWORK, SEGMENTER, GoldenCase, write_manifest
from cxr.pipeline import PipelineSpec
from cxr.tasks import PROGNOSIS, SEVERITY, Task
from serving.readiness import LoadedBundle

SPEC = PipelineSpec(size=64)
DEVICE = Task("device", "A third task", ("CR", "DX", "OTHER"), ("computed radiography", "digital radiography", "something else"))
TEMPERATURES = {"prognosis": 1.5, "severity": 0.8, "device": 1.0}


def film(lungs: int = 2, seed: int = 0, size: int = 160) -> NDArray[np.uint8]:
    """A film (size, size) with that many ellipses; noise makes every seed another film."""
    rng = np.random.default_rng(seed)
    picture = 180 + rng.normal(0, 6, (size, size))
    y, x = np.mgrid[:size, :size] / size
    for centre in (0.3, 0.7)[:lungs]:
        inside = ((x - centre) / 0.13) ** 2 + ((y - 0.5) / 0.32) ** 2 < 1
        picture[inside] -= 120 + 20 * rng.random()
    return np.clip(picture, 0, 255).astype(np.uint8)


def encoded(pixels: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    """The film as PNG or JPEG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, quality=95)
    return out.getvalue()


def write_bundle(
    folder: Path,
    tasks: tuple[Task, ...] = (PROGNOSIS, SEVERITY),
    shift: float = 0.0,
    explains: bool = True,
    limits: Mapping[str, SetLimits] | None = None,
    segmenter: bytes | None = None,
    weights: Mapping[str, NDArray[np.float32]] | None = None,
    golden: int = 1,
) -> Path:
    """A sealed bundle folder with that many `golden` films. `shift` is added to the recorded golden probabilities, so that the replay
    fails; without `explains` it is as old bundles were. `weights`: task → (2, classes), what a film's mean and its square are multiplied
    by; default: drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NETWORK).write_bytes(_network(tasks, explains, weights or {}))
    (folder / SEGMENTER).write_bytes(segmenter or _segmenter())
    names = (GOLDEN, *(f"golden-{number}.png" for number in range(2, golden + 1)))
    for i, name in enumerate(names):
        (folder / name).write_bytes(encoded(film(seed=99 - i)))
    (folder / CARD).write_text("# A test bundle\n")
    temperatures = {task.name: TEMPERATURES[task.name] for task in tasks}
    blank = GoldenCase(probabilities={task.name: [0.0] * len(task.classes) for task in tasks}, box=(0, 0, 0, 0), film_digest="")
    write_manifest(folder, SPEC, tasks, temperatures, blank, {"run": "r1"}, limits, dict.fromkeys(names[1:], blank))
    cases = golden_cases(folder, shift)
    write_manifest(folder, SPEC, tasks, temperatures, cases.pop(GOLDEN), {"run": "r1"}, limits, cases)
    return folder


def golden_cases(folder: Path, shift: float = 0.0) -> dict[str, GoldenCase]:
    """What a sealed bundle answers to its golden films, by file."""
    bundle = Bundle(folder)
    cases = {}
    for name in (GOLDEN, *bundle.manifest.more_golden):
        known = bundle.predict((folder / name).read_bytes(), gated=False)
        probabilities = {task: [p + shift for p in given.probabilities] for task, given in known.answers.items()}
        cases[name] = GoldenCase(probabilities=probabilities, box=known.film.box, film_digest=known.film.digest)
    return cases


def loader(folder: Path, version: str = "7") -> Callable[[], LoadedBundle]:
    """What a registry gives, without a registry."""
    return lambda: LoadedBundle(Bundle(folder), "mdmt", version, "champion")


def _segmenter() -> bytes:
    """Dark is lung: sigmoid(40 · (0.4 − x)) on [0, 1]."""
    nodes = [
        helper.make_node("Sub", ["dark", "film"], ["below"]),
        helper.make_node("Mul", ["below", "steep"], ["odds"]),
        helper.make_node("Sigmoid", ["odds"], ["lungs"]),
    ]
    shape = ["n", 1, 256, 256]
    return _graph(nodes, ("film", TensorProto.FLOAT, shape), {"lungs": shape}, dark=np.float32(0.4), steep=np.float32(40))


def rounding_segmenter() -> bytes:
    """The same by way of two convolutions, which OpenVINO computes in bfloat16 where the processor can: gray 102 of 255 is lung in
    float32 by a hair, and is not in bfloat16."""
    nodes = [
        helper.make_node("Conv", ["film", "wide"], ["copies"]),
        helper.make_node("Conv", ["copies", "dark", "bias"], ["odds"]),
        helper.make_node("Sigmoid", ["odds"], ["lungs"]),
    ]
    shape: list[str | int] = ["n", 1, 256, 256]
    weights = {"wide": np.ones((16, 1, 1, 1), np.float32), "dark": np.full((1, 16, 1, 1), -2.5, np.float32)}
    return _graph(nodes, ("film", TensorProto.FLOAT, shape), {"lungs": shape}, bias=np.array([16], np.float32), **weights)


def _network(tasks: tuple[Task, ...], explains: bool, given: Mapping[str, NDArray[np.float32]]) -> bytes:
    """uint8 (N, 1, S, S) → mean and its square → one linear layer per task; evidence is what is bright, in 4 × 4 places, and more of it for
    each further class."""
    nodes = [
        helper.make_node("Cast", ["film"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["real", "white"], ["unit"]),
        helper.make_node("ReduceMean", ["unit", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "mean"], ["square"]),
        helper.make_node("Concat", ["mean", "square"], ["features"], axis=1),
        *(helper.make_node("MatMul", ["features", f"w_{task.name}"], [task.name]) for task in tasks),
    ]
    if explains:
        side = SPEC.size // 4
        nodes.append(helper.make_node("AveragePool", ["unit"], ["pooled"], kernel_shape=[side, side], strides=[side, side]))
        nodes += [helper.make_node("Mul", ["pooled", f"more_{task.name}"], [EVIDENCE + task.name]) for task in tasks]
    rng = np.random.default_rng(1)
    drawn = {task.name: rng.normal(0, 3, (2, len(task.classes))).astype(np.float32) for task in tasks}
    weights = {f"w_{name}": given.get(name, value) for name, value in drawn.items()}
    outputs = {task.name: ["n", len(task.classes)] for task in tasks}
    if explains:
        outputs |= {EVIDENCE + task.name: ["n", len(task.classes), 4, 4] for task in tasks}
        weights |= {
            f"more_{task.name}": (2.0 ** np.arange(len(task.classes))).astype(np.float32)[None, :, None, None] for task in tasks
        }
    constants = {"white": np.float32(255), "axes": np.array([2, 3], dtype=np.int64), **weights}
    return _graph(nodes, ("film", TensorProto.UINT8, ["n", 1, SPEC.size, SPEC.size]), outputs, **constants)


def _graph(
    nodes: list[onnx.NodeProto],
    source: tuple[str, int, list[str | int]],
    outputs: dict[str, list[str | int]],
    **constants: NDArray[np.generic],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(*source)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()
