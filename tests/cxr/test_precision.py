"""A lower precision is served only where the bundle carries a proof that answers stay as they are."""

from pathlib import Path
from typing import Any

import pytest

from cxr.bundle import Bundle
from cxr.graphs import Way
from cxr.manifest import BundleError, read_manifest
from cxr.precision import Margins, Proof, reason, usable, ways
from tests.serving.tiny_bundle import write_bundle
from training.precision import write_proof

GOOD: dict[str, Any] = {
    "films": 500, "source": "phantoms", "processor": "any", "engine": "openvino", "margins": {"lungs": 0.01, "gate": 0.05},
    "fitted": 250, "rechecked": 0.2, "moved": 9, "iou_median": 0.999, "iou_min": 0.99, "verdicts": 0,
    "flipped": {"prognosis": 0, "severity": 0}, "sets": 0, "mean_change": 0.005, "largest_change": 0.02,
}  # fmt: skip
OLD = {name: value for name, value in GOOD.items() if name not in ("margins", "fitted", "rechecked", "moved", "sets")}


def test_a_proof_that_meets_every_bound_lets_its_precision_be_used() -> None:
    assert Proof(**GOOD).objections() == ()
    precision, why = usable({"bfloat16": Proof(**GOOD)}, "openvino")
    assert precision == "bfloat16" and "500 films (phantoms), 20% of them looked at again in float32" in why


@pytest.mark.parametrize(
    ("worse", "said"),
    [
        ({"films": 499}, "measured on 499 films, needs 500"),
        ({"iou_min": 0.9899}, "IoU 0.9899"),
        ({"verdicts": 1}, "another verdict on 1 films"),
        ({"flipped": {"prognosis": 0, "severity": 1}}, "another label on 1 films"),
        ({"sets": 2}, "another conformal set on 2 films"),
        ({"mean_change": 0.0051}, "0.0051 away on average"),
        ({"margins": None}, "proven without margins for close calls: register the bundle again with --prove"),
    ],
)
def test_one_bound_missed_is_float32_and_the_reason_says_which(worse: dict[str, Any], said: str) -> None:
    precision, why = usable({"bfloat16": Proof(**GOOD | worse)}, "openvino")
    assert precision == "float32" and said in why


def test_an_engine_that_does_not_compute_in_it_serves_float32() -> None:
    assert usable({"bfloat16": Proof(**GOOD)}, "onnxruntime") == ("float32", "not bfloat16: onnxruntime does not compute in it")


def test_without_a_proof_it_is_float32() -> None:
    assert usable({}, "openvino")[0] == "float32"


def test_what_may_be_served_with_is_every_engine_in_float32_and_the_proven_precision_where_it_is_computed() -> None:
    float32 = (Way("onnxruntime", "float32"), Way("openvino", "float32"))
    assert ways({}, ("onnxruntime", "openvino")) == float32
    assert ways({"bfloat16": Proof(**GOOD)}, ("onnxruntime", "openvino")) == (*float32, Way("openvino", "bfloat16"))


def test_a_proven_precision_that_is_not_served_says_why_not() -> None:
    proofs = {"bfloat16": Proof(**GOOD)}
    assert "faster on this host" not in reason(proofs, "openvino", "bfloat16")
    assert reason(proofs, "openvino", "float32").endswith("float32 is what was asked for, or faster on this host")


def test_margins_travel_in_the_manifest(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    write_proof(folder, "bfloat16", Proof(**GOOD))
    assert read_manifest(folder).proofs["bfloat16"].margins == Margins(lungs=0.01, gate=0.05)
    assert Bundle(folder, engine="openvino", precision="bfloat16").precision == "bfloat16"


def test_a_bundle_that_was_proven_without_margins_is_served_in_float32_alone(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    write_proof(folder, "bfloat16", Proof(**OLD))
    manifest = Bundle(folder, engine="openvino").manifest
    assert ways(manifest.proofs, ("openvino",)) == (Way("openvino", "float32"),)
    assert "proven without margins" in usable(manifest.proofs, "openvino")[1]
    with pytest.raises(BundleError, match="no proof of bfloat16 with margins: register it again"):
        Bundle(folder, engine="openvino", precision="bfloat16")
