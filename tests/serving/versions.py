"""Versions on a shelf: what a registry is to the service, with an alias that a test moves and a door that it shuts."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cxr.manifest import GOLDEN, MANIFEST, NETWORK, digest_of
from cxr.signature import SIGNATURE, new_key, sign
from serving.bundle_cache import BundleCache
from serving.readiness import LoadedBundle, RegistryAway, Source
from serving.settings import Settings
from tests.serving.tiny_bundle import golden_cases, write_bundle

PRIVATE, PUBLIC = new_key()
Change = Callable[[Path], None]


class Shelf:
    """`put` a version, point `alias` at it. `away` is a registry that does not answer."""

    def __init__(self, settings: Settings) -> None:
        self._cache = BundleCache(settings)
        self._folders: dict[str, Path] = {}
        self.alias = ""
        self.away = False
        self.fetched: list[str] = []

    def put(self, version: str, folder: Path) -> None:
        self._folders[version] = folder
        self.alias = self.alias or version

    def source(self) -> Source:
        return Source(self._current, self._load, self._last, self._keep)

    def _current(self) -> str:
        if self.away:
            raise RegistryAway("the registry does not answer")
        return f"v{self.alias}"

    def _load(self) -> LoadedBundle:
        version = self._current()[1:]
        return self._loaded(version, lambda into: self._fetch(version, into))

    def _keep(self, served: LoadedBundle) -> None:
        self._cache.remember("shelf", served.version, served.key)

    def _last(self) -> LoadedBundle | None:
        known = self._cache.last("shelf")
        return None if known is None else self._loaded(known[0], no_copy)

    def _loaded(self, version: str, fetch: Callable[[Path], Path]) -> LoadedBundle:
        bundle, signer = self._cache.bundle(f"v{version}", fetch)
        return LoadedBundle(bundle, "mdmt", version, "champion", signer, f"v{version}")

    def _fetch(self, version: str, into: Path) -> Path:
        self.fetched.append(version)
        return copied(self._folders[version], into)


def copied(folder: Path, into: Path) -> Path:
    """What a download gives."""
    return shutil.copytree(folder, into / "bundle", symlinks=True)


def no_copy(into: Path) -> Path:
    raise RegistryAway("the registry does not answer")


def version(into: Path, temperature: float = 1.5, change: Change = lambda folder: None, signed: bool = True) -> Path:
    """A sealed and signed bundle that answers differently at every temperature; `change` spoils it before it is signed."""
    write_bundle(into, golden=3)
    manifest = json.loads((into / MANIFEST).read_text())
    manifest["temperatures"]["prognosis"] = temperature
    (into / MANIFEST).write_text(json.dumps(manifest))
    cases = {name: case.model_dump(mode="json") for name, case in golden_cases(into).items()}
    alter(into, golden=cases.pop(GOLDEN), more_golden=cases)
    change(into)
    if signed:
        sign(into, (into / MANIFEST).read_bytes(), PRIVATE)
    return into


def alter(folder: Path, **fields: Any) -> None:
    """Change fields of the manifest and seal it again, so that only what is checked later can notice."""
    manifest = json.loads((folder / MANIFEST).read_text()) | fields
    manifest["files"] = {name: digest_of((folder / name).read_bytes()) for name in manifest["files"]}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def altered_byte(folder: Path) -> None:
    content = bytearray((folder / NETWORK).read_bytes())
    content[-1] ^= 1
    (folder / NETWORK).write_bytes(content)


def other_shape(folder: Path) -> None:
    """A network that answers one task with three classes too many."""
    _edit(folder, lambda model: _grow(model, "w_prognosis"))


def not_a_number(folder: Path) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        (weights,) = (one for one in model.graph.initializer if one.name == "w_prognosis")
        weights.CopyFrom(numpy_helper.from_array(np.full((2, 2), np.nan, np.float32), "w_prognosis"))

    _edit(folder, spoil)


def other_answer(folder: Path) -> None:
    def move(model: onnx.ModelProto) -> None:
        (weights,) = (one for one in model.graph.initializer if one.name == "w_prognosis")
        weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * 1.3, "w_prognosis"))

    _edit(folder, move)


def slow(folder: Path, side: int = 2200) -> None:
    """Multiplies large matrices that depend on the film, so that nothing of it is done once for all."""
    _edit(folder, lambda model: _waste(model, [side, side], products=2))


def failing_above(folder: Path, brightness: float) -> None:
    """Looks up what is not there for films whose mean is above that, in parts of white; all others are answered as before."""

    def change(model: onnx.ModelProto) -> None:
        (last,) = (node for node in model.graph.node if node.output[0] == "prognosis")
        last.output[0] = "answered"
        nodes = [
            helper.make_node("ReduceMax", ["mean"], ["seen"], keepdims=0),
            helper.make_node("Greater", ["seen", "allowed"], ["beyond"]),
            helper.make_node("Cast", ["beyond"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["one zero", "place"], ["zero"]),
            helper.make_node("Add", ["answered", "zero"], ["prognosis"]),
        ]
        model.graph.node.extend(nodes)
        constants = {"allowed": np.float32(brightness), "one zero": np.zeros(1, np.float32)}
        model.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())

    _edit(folder, change)


def too_big(folder: Path) -> None:
    """A file of a few kilobytes that asks for four gibibytes."""
    _edit(folder, lambda model: _waste(model, [1 << 15, 1 << 15], products=0))


def one_golden(folder: Path) -> None:
    """As bundles of 0.1.0 were."""
    manifest = json.loads((folder / MANIFEST).read_text())
    for name in manifest["more_golden"]:
        (folder / name).unlink()
        del manifest["files"][name]
    (folder / MANIFEST).write_text(json.dumps(manifest | {"more_golden": {}}))


def uncalibrated(folder: Path) -> None:
    alter(folder, temperatures={"prognosis": 1.5})


def unsigned(folder: Path) -> None:
    (folder / SIGNATURE).unlink(missing_ok=True)


def _edit(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(folder / NETWORK)
    change(model)
    (folder / NETWORK).write_bytes(model.SerializeToString())
    alter(folder)


def _grow(model: onnx.ModelProto, name: str) -> None:
    (weights,) = (one for one in model.graph.initializer if one.name == name)
    weights.CopyFrom(numpy_helper.from_array(np.ones((2, 5), np.float32), name))
    (output,) = (one for one in model.graph.output if one.name == "prognosis")
    output.CopyFrom(helper.make_tensor_value_info("prognosis", TensorProto.FLOAT, ["n", 5]))


def _waste(model: onnx.ModelProto, shape: list[int], products: int) -> None:
    """Puts a matrix of that shape between the features and the first task, without a change to the answer."""
    (last,) = (node for node in model.graph.node if node.output[0] == "prognosis")
    last.output[0] = "answered"
    nodes = [
        helper.make_node("ReduceMax", ["mean"], ["seed"], keepdims=0),
        helper.make_node("Expand", ["seed", "shape"], ["m0"]),
        *(helper.make_node("MatMul", [f"m{i}", f"m{i}"], [f"m{i + 1}"]) for i in range(products)),
        helper.make_node("ReduceMin", [f"m{products}"], ["least"], keepdims=0),
        helper.make_node("Mul", ["least", "nothing"], ["zero"]),
        helper.make_node("Add", ["answered", "zero"], ["prognosis"]),
    ]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), "shape"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "nothing"))


def settings_for(folder: Path, **changes: object) -> Settings:
    usual = {"trusted_keys": PUBLIC, "cache_dir": folder / "cache", "poll_seconds": 600, "engine": "onnxruntime", "workers": 2}
    return Settings(**{**usual, **changes})
