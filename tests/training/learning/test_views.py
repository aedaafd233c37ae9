import numpy as np
import torch

from cxr.tasks import SEVERITY, ZONES, Task
from training.data.samples import assemble
from training.learning.fitting import predict
from training.learning.network import create
from training.learning.views import predict_views
from training.settings import Augmentation, Training

TASKS = (SEVERITY, *ZONES)
STILL = Augmentation(shift=0, zoom=0, degrees=0, elastic=0, contrast=0, brightness=0)


def parts(films: int = 5, tasks: tuple[Task, ...] = TASKS):  # type: ignore[no-untyped-def]
    pixels = np.random.default_rng(0).integers(0, 256, (films, 64, 64), dtype=np.uint8)
    labels = [{task.name: 0 for task in tasks}] * films
    network = create("shufflenet_v2_x0_5", "scratch", tasks, hidden=8, dropout=0.5, seed=0)
    for _ in range(40):  # statistics of its own: without them every film gets the same answer
        network(torch.from_numpy(pixels)[:, None])
    return network, assemble(list(pixels), [str(i) for i in range(films)], labels, [task.name for task in tasks])


def test_one_view_is_the_film_itself() -> None:
    network, samples = parts()
    plain, viewed = predict(network, samples.films), predict_views(network, samples, Training(), 0)
    assert all((plain[name] == viewed[name]).all() for name in plain)


def test_views_without_variation_change_nothing() -> None:
    network, samples = parts()
    settings = Training(test_views=4, augmentation=STILL.model_copy(update={"flip": False}))
    plain, viewed = predict(network, samples.films), predict_views(network, samples, settings, 0)
    for name in plain:
        np.testing.assert_allclose(viewed[name], plain[name], atol=1e-5)


def test_views_depend_on_film_and_seed_alone_not_on_company() -> None:
    network, samples = parts()
    settings = Training(test_views=3)
    whole = predict_views(network, samples, settings, 1)
    alone = assemble([samples.films[3]], ["3"], [{"severity": 0}], samples.tasks)
    np.testing.assert_allclose(predict_views(network, alone, settings, 1)["severity"][0], whole["severity"][3], atol=1e-5)
    assert not np.allclose(predict_views(network, samples, settings, 2)["severity"], whole["severity"])


def test_a_mirrored_view_answers_for_the_other_lung() -> None:
    network, samples = parts()
    symmetric = np.maximum(samples.films, np.asarray(samples.films)[:, :, ::-1])
    twins = assemble(list(symmetric), [str(i) for i in range(5)], [{"severity": 0}] * 5, samples.tasks)
    settings = Training(test_views=8, augmentation=STILL)
    plain, viewed = predict(network, twins.films), predict_views(network, twins, settings, 0)
    for name in plain:  # a mirror image of a symmetric film is the film, so zone A of it is zone D: only then nothing changes
        mirror = next((task.mirror for task in TASKS if task.name == name and task.mirror), name)
        lowest, highest = np.minimum(plain[name], plain[mirror]), np.maximum(plain[name], plain[mirror])
        assert (viewed[name] >= lowest - 1e-4).all() and (viewed[name] <= highest + 1e-4).all()
    assert not np.allclose(viewed["zone-a"], plain["zone-a"])


def test_a_mirrored_view_does_not_count_for_a_zone_whose_other_side_is_not_known() -> None:
    network, samples = parts(tasks=(SEVERITY, ZONES[0]))
    settings = Training(test_views=6, augmentation=STILL)  # nothing but mirror images
    plain, viewed = predict(network, samples.films), predict_views(network, samples, settings, 0)
    np.testing.assert_allclose(viewed["zone-a"], plain["zone-a"], atol=1e-5)
    assert not np.allclose(viewed["severity"], plain["severity"], atol=1e-5)
