"""Several views of a film, one answer: logits averaged over the film and variations of it as in training (test-time augmentation)."""

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.film_warp import warp_films
from training.data.samples import Samples
from training.data.variation import vary
from training.learning.fitting import EVALUATED, predict
from training.learning.network import Network
from training.settings import Training


@torch.inference_mode()
def predict_views(network: Network, samples: Samples, settings: Training, seed: int) -> dict[str, NDArray[np.float32]]:
    """Films → {task: (N, classes) logits}, the mean over `settings.test_views` views; the first view is the film itself.

    Which views is a hash of (seed, view, film), as in training. A mirrored view answers for the other lung's zones, and where the network
    does not know these it does not count.
    """
    mean = predict(network, samples.films)
    seen = {name: np.ones((len(samples), 1), np.float32) for name in mean}
    for view in range(1, settings.test_views):
        for name, varied in _view(network, samples, settings, seed, view).items():
            counts = ~np.isnan(varied[:, :1])
            seen[name] += counts
            mean[name] += np.where(counts, varied - mean[name], 0) / seen[name]
    return mean


def _view(network: Network, samples: Samples, settings: Training, seed: int, view: int) -> dict[str, NDArray[np.float32]]:
    """Logits of one view of every film, NaN where it is mirrored and the task's mirror image is none of the network's."""
    pieces: dict[str, list[NDArray[np.float32]]] = {task.name: [] for task in network.tasks}
    many = EVALUATED[network.device.type]
    for first in range(0, len(samples), many):
        rows = np.arange(first, min(first + many, len(samples)))
        variation = vary(samples.keys[rows], seed, view, settings.augmentation)
        out = torch.empty(len(rows), 1, *samples.films.shape[1:])
        warp_films((samples.films[int(row)] for row in rows), variation, out[:, 0].numpy())
        logits = {name: found.float().cpu().numpy() for name, found in network(out.to(network.device)).items()}
        mirrored = variation.mirrored[:, None]
        for task in network.tasks:
            own = logits[task.name]
            other = logits.get(task.mirror or task.name, np.full_like(own, np.nan))
            pieces[task.name].append(np.where(mirrored, other, own))
    return {name: np.concatenate(found) for name, found in pieces.items()}
