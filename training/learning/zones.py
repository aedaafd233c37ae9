"""Where the six Brixia zones lie on a film cut to the lungs: three bands of equal height, and the middle between left and right.

A, B and C are the patient's right lung from top to bottom, left on the film; D, E and F the other (Borghesi and Maroldi, "COVID-19
outbreak in Italy: experimental chest X-ray scoring system", 2020, who draw the borders at the aortic arch and the lower pulmonary vein).
"""

import torch
from torch import Tensor

BANDS, SIDES = 3, 2


def zone_shares(feature_map: Tensor) -> Tensor:
    """A map (B, F, h, w) → (6, h, w): what each of its places counts in the mean over each zone; every zone sums to 1."""
    height, width = feature_map.shape[-2:]
    rows, columns = shared_out(BANDS, height), shared_out(SIDES, width)
    shares = columns[:, None, None, :] * rows[None, :, :, None]  # (2, 3, h, w)
    return shares.reshape(BANDS * SIDES, height, width).to(feature_map)


def shared_out(parts: int, length: int) -> Tensor:
    """(parts, length): `length` places of equal size shared out to neighbouring parts of equal size; each part sums to 1."""
    edges, places = torch.arange(parts + 1) * length / parts, torch.arange(length)
    inside = torch.minimum(edges[1:, None], places + 1) - torch.maximum(edges[:-1, None], places)
    return inside.clamp(min=0) * parts / length
