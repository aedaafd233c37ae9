import pytest

from training.evidence.gate_cases import AS_IT_IS
from training.evidence.gate_rates import every, refused
from training.evidence.rates import Rate


@pytest.mark.parametrize(
    ("rate", "low", "high"), [(Rate(81, 263), 0.2553, 0.3662), (Rate(15, 148), 0.0624, 0.1605), (Rate(0, 20), 0.0, 0.1611)]
)
def test_the_interval_is_wilsons_as_published(rate: Rate, low: float, high: float) -> None:
    """The examples of Newcombe, Statistics in Medicine 17 (1998), table I."""
    assert rate.interval() == pytest.approx((low, high), abs=5e-5)


def test_a_rate_reads_as_count_share_and_interval() -> None:
    assert str(Rate(15, 148)) == "15/148 = 10.1% (6.2%–16.0%)"


def test_refused_is_what_did_not_pass_of_what_was_shown() -> None:
    passed = {AS_IT_IS: Rate(9, 10), "inverted": Rate(1, 8), "turned": Rate(0, 0)}
    assert refused(passed) == {"inverted": Rate(7, 8)}
    assert every([Rate(7, 8), Rate(3, 4)]) == Rate(10, 12)
