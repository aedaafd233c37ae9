"""Nothing of an artifact is executed, unpickled, followed or believed: what does not belong into a bundle is refused, unread."""

import io
import json
import os
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cxr.graph_inspection import GraphRefused, inspect
from cxr.manifest import GOLDEN, MANIFEST, MAX_BYTES, NETWORK, BundleError, digest_of
from serving.bundle_cache import BundleCache
from serving.settings import Settings
from tests.serving.tiny_bundle import write_bundle
from tests.serving.versions import alter

CANARY = "MDMT_CANARY"


class Exploding:
    """What a pickle can do when it is read."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.putenv, (CANARY, "touched")


def pickled() -> bytes:
    return pickle.dumps(Exploding())


def listed(name: str, content: bytes) -> Callable[[Path], None]:
    """A file that the manifest lists, with its right digest."""

    def put(folder: Path) -> None:
        (folder / Path(name).name).write_bytes(content)
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["files"][name] = digest_of(content)
        (folder / MANIFEST).write_text(json.dumps(manifest))

    return put


def beside(name: str, content: bytes) -> Callable[[Path], None]:
    """A file that nobody lists."""

    def put(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)

    return put


def linked(folder: Path) -> None:
    outside = folder.parent / "outside.png"
    outside.write_bytes((folder / GOLDEN).read_bytes())
    (folder / GOLDEN).unlink()
    (folder / GOLDEN).symlink_to(outside)


def travelling(folder: Path) -> None:
    content = (folder / GOLDEN).read_bytes()
    (folder.parent / "golden.png").write_bytes(content)
    listed("../golden.png", content)(folder)


def huge(folder: Path) -> None:
    with (folder / "weights.safetensors").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # a sparse file: nothing is written


def edited(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        model = onnx.load(folder / NETWORK)
        change(model)
        (folder / NETWORK).write_bytes(model.SerializeToString())
        alter(folder)

    return edit


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    tensor.ClearField("raw_data")


def foreign(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("evil.ops", 1))
    model.graph.node.append(helper.make_node("Run", ["mean"], ["ran"], domain="evil.ops"))


def functions(model: onnx.ModelProto) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    model.functions.append(helper.make_function("local", "F", ["x"], ["y"], [node], [helper.make_opsetid("", 18)]))


def bomb(model: onnx.ModelProto) -> None:
    """A few bytes that say they are a terabyte."""
    tensor = TensorProto(name="bomb", data_type=TensorProto.FLOAT, dims=[1 << 20, 1 << 18], raw_data=b"\x00" * 8)
    model.graph.initializer.append(tensor)


def looping(model: onnx.ModelProto) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
    )  # fmt: skip
    model.graph.initializer.append(numpy_helper.from_array(np.array(1 << 62), "often"))
    model.graph.node.append(helper.make_node("Loop", ["often", ""], [], body=body))


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", pickled())
    return out.getvalue()


MLMODEL = b"flavors:\n  python_function:\n    loader_module: evil\n    code: code\n"
HOSTILE: dict[str, Callable[[Path], None]] = {
    "a pickle beside it": beside("model.pkl", pickled()),
    "a pickle that is listed": listed("model.pkl", pickled()),
    "a pickle under an allowed name": listed("golden-2.png", pickled()),
    "python code beside it": beside("evil.py", b"import os; os.putenv('MDMT_CANARY', 'touched')"),
    "python code in a folder, as MLflow's loader wants it": lambda f: (
        beside("MLmodel", MLMODEL)(f),
        beside("code/evil.py", b"1/0")(f),
    ),
    "a torch archive": beside("weights.pt", zipped()),
    "a symbolic link to the right content": linked,
    "a path out of the folder": travelling,
    "a huge file": huge,
    "constants in another file": edited(external),
    "operators of a domain of its own": edited(foreign),
    "functions of its own": edited(functions),
    "a constant that says it is a terabyte": edited(bomb),
    "a loop without end": edited(looping),
    "a graph that is a pickle": lambda f: ((f / NETWORK).write_bytes(pickled()), alter(f)),
    "a manifest that is a pickle": lambda f: (f / MANIFEST).write_bytes(pickled()),
}


@pytest.fixture(scope="module")
def unpickled() -> Iterator[list[str]]:
    """What pickle looked up in this process since it was asked for; an audit hook cannot be taken away again."""
    found: list[str] = []
    listening = [True]
    sys.addaudithook(lambda event, given: found.append(str(given)) if listening[0] and event == "pickle.find_class" else None)
    yield found
    listening[0] = False


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_artifact_is_refused_before_anything_of_it_is_read_into_an_engine(
    tmp_path: Path, kind: str, unpickled: list[str]
) -> None:
    folder = write_bundle(tmp_path / "bundle")
    HOSTILE[kind](folder)
    if kind == "a pickle under an allowed name":  # a film that is none: the golden case says so
        alter(folder, more_golden={"golden-2.png": json.loads((folder / MANIFEST).read_text())["golden"]})
    cache = BundleCache(Settings(cache_dir=tmp_path / "cache"))
    before = len(unpickled)
    with pytest.raises(BundleError) as refused:
        cache.bundle("v1", lambda into: folder.rename(into / "bundle"))
    assert refused.value.kind in ("hostile", "malformed", "too-big", "golden")
    assert CANARY not in os.environ
    assert unpickled[before:] == []
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, 7, 100])
def test_cut_off_graphs_are_refused(size: int, tmp_path: Path) -> None:
    content = (write_bundle(tmp_path) / NETWORK).read_bytes()
    inspect(content)
    with pytest.raises(GraphRefused):
        inspect(content[:size])
