"""The lung U-Net on tiny drawn chests: it learns, repeats itself to the bit, keeps definitions apart, and exports what it is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from training.data.lung_pairs import BEHIND_HEART, WITHOUT_HEART, LungPair
from training.evaluation.contact_sheet import Panel, contact_sheet
from training.learning import lung_augmentation
from training.learning.checkpoint import ForeignCheckpoint
from training.learning.lung_augmentation import ODD, augment
from training.learning.segmenter import Epoch, LungNetwork, export_onnx, train_segmenter
from training.settings import SegmenterSettings, fast_bfloat16

SMALL = SegmenterSettings(epochs=8, batch=4, size=64, channels=(8, 16, 32), bfloat16=False, threads=1, learning_rate=1e-2)


def draw_pairs(root: Path, n: int = 12) -> list[LungPair]:
    """Two dark ellipses on a bright chest; the definition without the heart loses its lower inner corner from the mask."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:96, 0:96] / 96
    pairs = []
    for i in range(2 * n):
        definition = (BEHIND_HEART, WITHOUT_HEART)[i % 2]
        cy, half = rng.uniform(0.45, 0.55), rng.uniform(0.2, 0.24)
        lungs = np.zeros((96, 96), bool)
        for cx in (0.5 - half, 0.5 + half):
            lungs |= ((x - cx) / 0.16) ** 2 + ((y - cy) / 0.32) ** 2 < 1
        film = np.where(lungs, 60, 190) + rng.normal(0, 6, (96, 96))
        if definition == WITHOUT_HEART:
            lungs &= ~((x > 0.5) & (x < 0.5 + half) & (y > cy))
        pair = LungPair(f"p{i}", root / f"{i}.png", root / f"{i}m.png", f"P{i}", definition)
        Image.fromarray(film.clip(0, 255).astype(np.uint8)).save(pair.image)
        Image.fromarray((lungs * 255).astype(np.uint8)).save(pair.mask)
        pairs.append(pair)
    return pairs


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[LungPair]:
    return draw_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def trained(pairs: list[LungPair]):
    return train_segmenter(pairs, SMALL)


def test_a_few_epochs_find_drawn_lungs_on_patients_never_seen(trained) -> None:
    assert set(trained.test) == {BEHIND_HEART, WITHOUT_HEART}
    assert trained.test[BEHIND_HEART].mean > 0.85
    assert trained.test[BEHIND_HEART].worst <= trained.test[BEHIND_HEART].median


def test_the_weights_kept_are_those_of_the_best_validation_dice(trained) -> None:
    dice = [epoch.dice[BEHIND_HEART] for epoch in trained.history]
    assert len(dice) == SMALL.epochs
    assert trained.best == int(np.argmax(dice))


def test_the_same_pairs_and_settings_give_the_same_weights_to_the_bit_whatever_the_caller_did(pairs) -> None:
    short = replace(SMALL, epochs=2)
    seen = []
    first = train_segmenter(pairs, short, progress=seen.append)
    torch.manual_seed(99)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    second = train_segmenter(pairs[::-1], short)
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)
    assert torch.equal(state, torch.get_rng_state())
    assert threads == torch.get_num_threads()
    assert tuple(seen) == first.history == second.history


def test_a_training_that_was_killed_goes_on_from_its_last_epoch_to_the_same_weights(pairs, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def killed_in(number: int) -> Callable[[Epoch], None]:
        def progress(epoch: Epoch) -> None:
            seen.append(epoch.number)
            if epoch.number == number:
                raise Killed

        return progress

    settings, seen = replace(SMALL, epochs=3), []
    undisturbed = train_segmenter(pairs, settings)
    for number in (1, 2):
        with pytest.raises(Killed):
            train_segmenter(pairs, settings, killed_in(number), tmp_path, "mine")
    result = train_segmenter(pairs, settings, killed_in(9), tmp_path, "mine")
    assert seen == [0, 1, 1, 2, 2]
    assert (result.history, result.test) == (undisturbed.history, undisturbed.test)
    assert all(torch.equal(value, undisturbed.state[name]) for name, value in result.state.items())
    with pytest.raises(ForeignCheckpoint, match="'mine', this is 'yours'"):
        train_segmenter(pairs, settings, checkpoints=tmp_path, identity="yours")


def test_another_seed_gives_other_weights(pairs) -> None:
    first, second = (train_segmenter(pairs, replace(SMALL, epochs=1, seed=seed)) for seed in (0, 1))
    assert any(not torch.equal(first.state[name], second.state[name]) for name in first.state)


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_training_of_very_few_steps_works(pairs, steps: int) -> None:
    result = train_segmenter(pairs, replace(SMALL, epochs=steps, batch=24))
    assert np.isfinite([epoch.loss for epoch in result.history]).all()


def test_presets_take_changes_and_use_half_precision_only_where_it_pays() -> None:
    assert SegmenterSettings.demo(seed=3).seed == 3
    assert SegmenterSettings.real().bfloat16 == SegmenterSettings.demo().bfloat16 == fast_bfloat16()


def test_a_definition_nobody_drew_is_refused_before_training(pairs) -> None:
    only = [pair for pair in pairs if pair.definition == WITHOUT_HEART]
    with pytest.raises(ValueError, match="no pair shows 'lung incl"):
        train_segmenter(only, SMALL)


def test_the_size_must_fit_the_levels() -> None:
    with pytest.raises(ValueError, match="size 100 does not divide by 8"):
        replace(SMALL, size=100)


@pytest.fixture(scope="module")
def graph(trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "lungs.onnx"
    export_onnx(trained, path)
    return path


def test_the_exported_graph_answers_like_torch_for_any_number_of_films(trained, graph: Path) -> None:
    films = torch.rand(5, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = torch.sigmoid(trained.network()(films))[:, trained.definitions.index(BEHIND_HEART)][:, None].numpy()
    for n in (1, 3, 5):
        (lungs,) = session.run(["lungs"], {"film": films[:n].numpy()})
        assert lungs.shape == (n, 1, 64, 64)
        assert lungs.dtype == np.float32
        assert np.abs(lungs - expected[:n]).max() <= 1e-5


def test_the_exported_graph_is_the_same_every_time_and_names_no_path(trained, graph: Path, tmp_path: Path) -> None:
    export_onnx(trained, tmp_path / "again.onnx")
    assert graph.read_bytes() == (tmp_path / "again.onnx").read_bytes()
    assert str(Path(__file__).parents[3]).encode() not in graph.read_bytes()


def test_activations_are_of_a_kind_that_engines_compute_within_a_convolution(trained, graph: Path) -> None:
    kinds = [node.op_type for node in onnx.load(graph).graph.node]
    assert "PRelu" not in kinds
    assert "LeakyRelu" in kinds
    assert any(isinstance(part, torch.nn.PReLU) for part in trained.network().modules()), "trained as before"


def test_the_other_definition_exports_its_own_channel_and_an_unknown_one_is_refused(trained, tmp_path: Path) -> None:
    export_onnx(trained, tmp_path / "other.onnx", WITHOUT_HEART)
    films = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    (lungs,) = onnxruntime.InferenceSession(tmp_path / "other.onnx").run(["lungs"], {"film": films.numpy()})
    with torch.inference_mode():
        expected = torch.sigmoid(trained.network()(films))[:, trained.definitions.index(WITHOUT_HEART)].numpy()
    assert np.abs(lungs[:, 0] - expected).max() <= 1e-5
    with pytest.raises(ValueError, match="does not know 'lobes'"):
        export_onnx(trained, tmp_path / "none.onnx", "lobes")


def test_brightness_and_contrast_of_the_film_do_not_change_the_answer() -> None:
    torch.manual_seed(0)
    network = LungNetwork((8, 16), (BEHIND_HEART,)).eval()
    film = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(network(film), network(film * 0.5 + 0.2), atol=0.05)
        assert torch.isfinite(network(torch.full((1, 1, 64, 64), 0.5))).all()


def test_augmentation_depends_on_the_film_alone_and_moves_mask_with_film() -> None:
    lungs = torch.zeros(3, 1, 64, 64)
    lungs[:, :, 20:50, 10:30] = 1
    films = lungs * 0.9 + 0.05

    def generators() -> list[np.random.Generator]:
        return [np.random.default_rng([0, 0, i]) for i in range(3)]

    moved, masks = augment(films, lungs, generators())
    alone, _ = augment(films[1:2], lungs[1:2], generators()[1:2])
    assert torch.equal(moved[1:2], alone)
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    for film, mask in zip(moved, masks, strict=True):
        assert film[mask == 1].median() > film[mask == 0].median() + 0.3
        assert not torch.equal(mask, lungs[0])


@pytest.mark.parametrize("way", sorted(set(ODD), key=lambda way: way.__name__))
def test_an_odd_film_keeps_its_mask_on_its_lungs(way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lung_augmentation, "ODD", (way,))
    lungs = torch.zeros(24, 1, 64, 64)
    lungs[:, :, 10:50, 15:35] = 1  # taller than wide, left of the middle
    films = 0.7 - lungs * 0.6
    shown, masks = augment(films, lungs, [np.random.default_rng([5, i]) for i in range(24)], odd=1.0)
    assert float(shown.min()) >= 0 and float(shown.max()) <= 1 and set(masks.unique().tolist()) == {0.0, 1.0}
    darker = [float(film[mask == 1].median() < 0.75 * film[mask == 0].median()) for film, mask in zip(shown, masks, strict=True)]
    taller = [float(mask.any(1).sum() > 1.2 * mask.any(0).sum()) for mask in masks[:, 0]]
    area = float(masks.mean() / lungs.mean())
    plain = float(augment(films, lungs, [np.random.default_rng([5, i]) for i in range(24)])[1].mean() / lungs.mean())
    found = {
        "_inverted": np.mean(darker) < 0.2,
        "_turned": np.mean(taller) < 0.8,
        "_cropped": area > 1.3 * plain,
        "_bedside": area < 0.8 * plain,
    }
    assert found[way.__name__]


def test_without_odd_films_augmentation_is_as_it_always_was_and_a_share_of_them_is_odd() -> None:
    films = torch.rand(200, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    lungs = (films > 0.5).float()

    def masks(odd: float) -> torch.Tensor:
        return augment(films, lungs, [np.random.default_rng([1, i]) for i in range(200)], odd)[1]

    other = (masks(0.0) != masks(0.3)).flatten(1).any(1).float().mean()
    assert 0.15 < float(other) < 0.35  # 0.3, but for inverted films, whose masks stay


def test_a_share_of_odd_films_is_a_share() -> None:
    with pytest.raises(ValueError, match=r"found 1\.5"):
        SegmenterSettings(odd=1.5)


def test_the_contact_sheet_shows_every_film_with_both_outlines(tmp_path: Path) -> None:
    gray = np.full((100, 80), 100, np.uint8)
    mask = np.zeros((64, 64), np.float32)
    mask[10:50, 10:50] = 0.9
    truth = np.zeros((100, 80), bool)
    truth[30:60, 20:60] = True
    contact_sheet([Panel(gray, mask, truth, "a"), Panel(gray, mask > 0.5, None, "b")] * 2, tmp_path / "s.png", columns=3, side=60)
    sheet = np.asarray(Image.open(tmp_path / "s.png"))
    assert sheet.shape == (2 * 74, 180, 3)
    first, second = sheet[:74, :60], sheet[:74, 60:120]
    orange, blue = (255, 170, 0), (0, 200, 255)
    assert (first == orange).all(-1).any()
    assert (first == blue).all(-1).any()
    assert not (second == blue).all(-1).any()
    with pytest.raises(ValueError, match="0 panels"):
        contact_sheet([], tmp_path / "s.png")
