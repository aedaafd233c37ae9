"""Quality flags: what speaks against an answer, one by one."""

from dataclasses import replace

import numpy as np
import pytest

from cxr.cropping import Box
from cxr.pipeline import Film, PipelineSpec, prepare
from cxr.quality import SENTENCES, Flag, flags
from cxr.segmentation import Verdict
from tests.cxr.test_pipeline import DarkIsLung
from tests.serving.tiny_bundle import SPEC, encoded, film


@pytest.fixture
def good() -> Film:
    return prepare(encoded(film()), SPEC, DarkIsLung())


def test_a_good_film_has_no_flag_and_every_flag_has_a_sentence(good: Film) -> None:
    assert flags(good, SPEC) == ()
    assert set(SENTENCES) == set(Flag)


def test_each_flag_is_raised_by_what_it_names_alone(good: Film) -> None:
    cut = good.lungs.copy()
    cut[100, 0] = True
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    cases = {
        Flag.ONE_LUNG: replace(good, verdict=Verdict.ONE_LUNG),
        Flag.LUNGS_CUT: replace(good, lungs=cut),
        Flag.ENLARGED: replace(good, box=Box(0, 0, 63, 63)),
        Flag.DULL: replace(good, pixels=np.full_like(good.pixels, 90)),
        Flag.SATURATED: replace(good, pixels=stripes),
    }
    for flag, spoilt in cases.items():
        assert flags(spoilt, SPEC) == (flag,)


def test_black_around_the_lungs_is_not_saturation_where_it_was_painted(good: Film) -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    assert flags(replace(good, pixels=stripes), PipelineSpec(size=64, crop="masked")) == ()
