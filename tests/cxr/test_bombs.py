"""Files that ask for gigabytes or minutes are refused at their headers, before they cost anything."""

import pytest

from tests.cxr.bombs import BOMBS, cost, deflated

pytestmark = pytest.mark.usefixtures("silent")
SECONDS, MEBIBYTES = 0.2, 32  # of CPU, and of peak memory


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_a_fifth_of_a_second_and_32_mebibytes(name: str) -> None:
    refused = cost(BOMBS[name]())
    assert refused.seconds <= SECONDS and refused.mebibytes <= MEBIBYTES, refused


@pytest.mark.slow
def test_a_deflated_data_set_of_two_gibibytes_is_refused_as_cheaply() -> None:
    refused = cost(deflated(2_048))
    assert refused.code == "unsupported-dicom"
    assert refused.seconds <= SECONDS and refused.mebibytes <= MEBIBYTES, refused
