"""What may lower the floor: ways to answer a film that are not float32's, each as a function of a file's content."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import quantization
from PIL import Image

from cxr.bundle import Bundle
from cxr.close_calls import CloseCalls
from cxr.engine import Engine
from cxr.graphs import EngineName, Graph, Precision
from cxr.intensity import to_gray8
from cxr.manifest import NETWORK, SEGMENTER
from cxr.pipeline import look, prepare, prepare_radiograph
from cxr.precision import Margins
from cxr.prediction import Prediction
from cxr.radiograph import Radiograph
from cxr.reading import read, recognised
from cxr.segmentation import MASK_SIZE, OnnxSegmenter

Predict = Callable[[bytes], Prediction]
CALIBRATION_FILMS = 60
SMALL = 192
ENGINE: EngineName = "openvino"


@dataclass(frozen=True)
class Work:
    """The bundle, the graphs derived from it, and the margins that were found for them."""

    bundle: Path
    folder: Path

    def graph(self, precision: Precision) -> bytes:
        return (self.folder / "int8.onnx" if precision == "int8" else self.bundle / SEGMENTER).read_bytes()

    def margins(self, precision: Precision) -> Margins:
        return Margins.model_validate_json((self.folder / f"{precision}.json").read_bytes())


def float32(work: Work) -> Predict:
    return partial(Bundle(work.bundle, 1, ENGINE).predict, gated=False)


def lower(work: Work, precision: Precision, again: bool, network: Precision = "float32") -> Predict:
    """The U-Net in `precision`, close calls `again` in float32 or not, and the network in another one where asked for."""
    bundle = Bundle(work.bundle, 1, ENGINE)
    spec, segmenter = bundle.manifest.pipeline, OnnxSegmenter(work.graph(precision), 1, ENGINE, precision)
    if network != "float32":
        content = (work.bundle / NETWORK).read_bytes()
        bundle.engine = Engine(content, bundle.tasks, bundle.manifest.temperatures, 1, ENGINE, network)
    if again:
        bundle.quick = CloseCalls(segmenter, spec, work.margins(precision))
        return partial(bundle.predict, gated=False)
    return lambda data: bundle.predict_film(prepare(data, spec, segmenter))


class SmallSegmenter(OnnxSegmenter):
    """The same weights on a film of SMALL pixels; the probability is enlarged."""

    def __init__(self, content: bytes) -> None:
        model = onnx.load_from_string(content)
        del model.graph.value_info[:]
        for one in (*model.graph.input, *model.graph.output):
            for axis in one.type.tensor_type.shape.dim[2:]:
                axis.dim_value = SMALL
        self.digest, self.graph = "", Graph(model.SerializeToString(), ENGINE)

    def probability(self, gray: np.ndarray) -> np.ndarray:
        small = Image.fromarray(gray).resize((SMALL, SMALL), Image.Resampling.BILINEAR)
        found = self.graph.run(["lungs"], {"film": np.asarray(small, dtype=np.float32)[None, None] / 255})[0][0, 0]
        return np.asarray(Image.fromarray(found).resize((MASK_SIZE, MASK_SIZE), Image.Resampling.BILINEAR))


def smaller(work: Work) -> Predict:
    bundle = Bundle(work.bundle, 1, ENGINE)
    segmenter = SmallSegmenter(work.graph("float32"))
    return lambda data: bundle.predict_film(prepare(data, bundle.manifest.pipeline, segmenter))


def scaled(work: Work) -> Predict:
    """JPEGs decoded at half their size, by fewer coefficients, where that leaves twice what the U-Net sees."""
    bundle = Bundle(work.bundle, 1, ENGINE)

    def predict(data: bytes) -> Prediction:
        picture = Image.open(io.BytesIO(data)) if recognised(data) == "jpeg" else None
        if picture is None or min(picture.size) < 4 * MASK_SIZE:
            return bundle.predict(data, gated=False)
        picture.draft("L", (picture.width // 2, picture.height // 2))
        radiograph = Radiograph(np.asarray(picture.convert("L"), dtype=np.float32), 8, "jpeg", "L")
        return bundle.predict_film(prepare_radiograph(radiograph, bundle.manifest.pipeline, bundle.segmenter))

    return predict


VARIANTS: dict[str, Callable[[Work], Predict]] = {
    "float32": float32,
    "U-Net in bfloat16, close calls again": partial(lower, precision="bfloat16", again=True),
    "U-Net in bfloat16": partial(lower, precision="bfloat16", again=False),
    "both graphs in bfloat16": partial(lower, precision="bfloat16", again=False, network="bfloat16"),
    "U-Net in INT8, close calls again": partial(lower, precision="int8", again=True),
    "U-Net in INT8": partial(lower, precision="int8", again=False),
    f"U-Net at {SMALL} pixels": smaller,
    "JPEG decoded at half its size": scaled,
}


def quantised(bundle: Path, films: Sequence[Path], output: Path) -> None:
    """The U-Net with weights and activations of 8 bits, ranges from some of the films."""
    spec = Bundle(bundle, 1, ENGINE).manifest.pipeline
    seen: list[dict[str, np.ndarray]] = []

    class Keep(OnnxSegmenter):
        def probability(self, gray: np.ndarray) -> np.ndarray:
            small = Image.fromarray(gray).resize((MASK_SIZE, MASK_SIZE), Image.Resampling.BILINEAR)
            seen.append({"film": np.asarray(small, dtype=np.float32)[None, None] / 255})
            return np.zeros((MASK_SIZE, MASK_SIZE), np.float32)

    keep = Keep.__new__(Keep)
    for path in films[:: max(1, len(films) // CALIBRATION_FILMS)]:
        look(to_gray8(read(path.read_bytes()).pixels, spec.low, spec.high), spec, keep)

    class Ranges(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return seen.pop() if seen else None

    quantization.quantize_static(str(bundle / SEGMENTER), str(output), Ranges(), per_channel=True)
