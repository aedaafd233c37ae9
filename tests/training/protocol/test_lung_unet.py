"""The lung U-Net as a registered model: what its run keeps, and which settings name it."""

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from cxr.manifest import CARD
from cxr.segmentation import OnnxSegmenter
from tests.cxr.chests import chest
from tests.training.evidence.real_layout import PAIRS, write_pack
from training.data.lung_pairs import BEHIND_HEART, WITHOUT_HEART, read_pairs
from training.evaluation.card import NOTICE
from training.protocol import lung_record, lung_unet
from training.settings import SegmenterSettings
from training.tracking import Tracking, default_uri

TINY = SegmenterSettings(epochs=2, batch=4, channels=(4, 8), threads=1)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("pack")) / "lung-masks"


@pytest.fixture
def tracking(new_home: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> Tracking:
    for module in (lung_unet, lung_record):
        monkeypatch.setattr(module, "PRESETS", {"smoke": lambda: TINY, "real": SegmenterSettings.real})
    home = new_home()
    return Tracking(default_uri(home), home)


@pytest.mark.long
def test_the_run_keeps_a_graph_for_every_kind_of_lung_and_says_what_was_tried(pairs: Path, tracking: Tracking) -> None:
    assert lung_record.tried(pairs, tracking) == []
    served = lung_unet.ensure_segmenter(pairs, "smoke", tracking).graph
    other = lung_record.graph_of(WITHOUT_HEART, pairs, "smoke", tracking)
    assert other is not None and lung_record.graph_of(BEHIND_HEART, pairs, "smoke", tracking) is None
    shapes = {OnnxSegmenter.from_file(graph).probability(chest(0)).shape for graph in (served, other)}
    assert shapes == {(256, 256)} and served.read_bytes() != other.read_bytes()
    (one,) = lung_record.tried(pairs, tracking)
    run = tracking.runs(kind="segmenter")[0]
    history = tracking.client.get_metric_history(run.info.run_id, "val_dice_lung_incl_the_part_behind_the_heart")
    assert (one.preset, one.odd, one.val) == ("smoke", 0.0, max(point.value for point in history)) and len(history) == 2
    assert lung_record.recorded(BEHIND_HEART, pairs, "smoke", tracking)["mean"] == one.test
    assert f"{one.test:.4f}" == lung_unet.registered_dice(run.data.tags["mdmt.fingerprint"], tracking)
    _card_is_of_its_own_figures(served.parent / CARD, lung_record.recorded(BEHIND_HEART, pairs, "smoke", tracking), one.val)


def _card_is_of_its_own_figures(path: Path, recorded: dict[str, float], val: float) -> None:
    card = path.read_text(encoding="utf-8")
    row = f"| {BEHIND_HEART} | {recorded['films']:.0f} | {recorded['mean']:.3f} | {recorded['median']:.3f} | {recorded['worst']:.3f} |"
    assert NOTICE in card and row in card and f"Dice {val:.4f}" in card
    listed = re.findall(r"^\| .* \| (\d+) \| (\d+) \| (?:JSRT|V7) \d+, (?:JSRT|V7) \d+ \|$", card, re.MULTILINE)
    assert len(listed) == 3 and sum(int(n) for n, _ in listed) == PAIRS and all(n == patients for n, patients in listed)
    assert "0% of the training films" in card and "were not among its training films" in card


def test_held_out_pairs_are_of_patients_that_trained_nothing(pairs: Path) -> None:
    apart = lung_unet.held_out(pairs, "real")
    others = set(read_pairs(pairs)) - set(apart)
    assert apart and not {pair.patient for pair in apart} & {pair.patient for pair in others}


def test_a_share_of_odd_films_makes_another_unet_and_none_leaves_the_fingerprint_as_it_was(
    pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = read_pairs(pairs)
    plain, odd = (lung_unet.fingerprint_of(read, SegmenterSettings(odd=share)) for share in (0.0, 0.25))
    assert plain != odd
    before = {name: value for name, value in asdict(SegmenterSettings()).items() if name != "odd"}
    monkeypatch.setattr(lung_unet, "asdict", lambda _: before | {"odd": 0.0})
    assert lung_unet.fingerprint_of(read, SegmenterSettings()) == plain
    monkeypatch.setattr(lung_unet, "asdict", lambda _: before | {"odd": 0.0, "seed": 1})
    assert lung_unet.fingerprint_of(read, SegmenterSettings()) != plain
