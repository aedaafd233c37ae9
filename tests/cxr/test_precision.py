"""A lower precision is served only where the bundle carries a proof that answers stay as they are."""

from typing import Any

import pytest

from cxr.precision import Proof, usable

GOOD: dict[str, Any] = {
    "films": 500, "source": "phantoms", "processor": "any", "engine": "openvino", "iou_median": 0.999, "iou_min": 0.99, "verdicts": 0,
    "flipped": {"prognosis": 0, "severity": 0}, "mean_change": 0.005, "largest_change": 0.02,
}  # fmt: skip


def test_a_proof_that_meets_every_bound_lets_its_precision_be_used() -> None:
    assert Proof(**GOOD).objections() == ()
    precision, why = usable({"bfloat16": Proof(**GOOD)}, "openvino")
    assert precision == "bfloat16" and "500 films (phantoms)" in why


@pytest.mark.parametrize(
    ("worse", "said"),
    [
        ({"films": 499}, "measured on 499 films, needs 500"),
        ({"iou_min": 0.9899}, "IoU 0.9899"),
        ({"verdicts": 1}, "another lung verdict on 1 films"),
        ({"flipped": {"prognosis": 0, "severity": 1}}, "another label on 1 films"),
        ({"mean_change": 0.0051}, "0.0051 away on average"),
    ],
)
def test_one_bound_missed_is_float32_and_the_reason_says_which(worse: dict[str, Any], said: str) -> None:
    precision, why = usable({"bfloat16": Proof(**GOOD | worse)}, "openvino")
    assert precision == "float32" and said in why


def test_an_engine_that_does_not_compute_in_it_serves_float32() -> None:
    assert usable({"bfloat16": Proof(**GOOD)}, "onnxruntime") == ("float32", "not bfloat16: onnxruntime does not compute in it")


def test_without_a_proof_it_is_float32() -> None:
    assert usable({}, "openvino")[0] == "float32"
