"""Each zone of the lungs looked at alone and close up: six square cut-outs of a film, and where on the film each one's map then lies.

A film cut to both lungs shows a zone at a third of its height, and at another place for every chest. Here each lung is found by its
pixels, as in `places`: what is not black, left or right of the column between the lungs. Its thirds are cut out as squares, so that no
shape is stretched, and the backbone sees each alone: it has six times as many examples of the same question, and a film mirrored in
training shows it each lung as if it were the other. Aligning the lungs before scoring zones is due to Signoroni et al., "BS-Net:
learning COVID-19 pneumonia severity on a large chest X-ray dataset", 2021.

Pixels are taken by products with matrices of linear weights, which every engine that runs the exported graph has.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from training.learning.places import FINER, Places, between, counted, drawn_on, middles_of
from training.learning.zones import BANDS, SIDES, shared_out

CUT_OUTS = SIDES * BANDS  # in the order of the zones: A, B, C on the film's left, D, E, F on its right
STRIDE = 32  # pixels of a film per place of a backbone's last map
_SHARE = 3 / 8  # of the film's side, about what a zone with its surroundings takes
_MARGIN = 0.2  # added to a zone's longer side


class CloseUps(NamedTuple):
    """`pixels` (B, 6, T, T) float in 0..255; `top`, `left` and `side` (B, 6) of each square, in pixels of the film; `shares`
    (B, 6, h', w'): what each place of the film, h' = w' = S / 8, counts in the mean over each zone."""

    pixels: Tensor
    top: Tensor
    left: Tensor
    side: Tensor
    shares: Tensor

    def places(self, zone: int, feature_map: Tensor) -> Places:
        """Where on the film the map (B, F, h, w) of one cut-out lies, and what of it counts."""
        height, width = feature_map.shape[-2:]
        top, left, side = (of[:, zone, None] for of in (self.top, self.left, self.side))
        middles = middles_of(self.shares.shape[-1]).to(side) * (STRIDE / FINER)  # of the film's finer places, in pixels
        rows, columns = between((middles - top) / side * height, height), between((middles - left) / side * width, width)
        return Places(*(part[:, None].to(feature_map) for part in (self.shares[:, zone], rows, columns.mT)))


def edge_of(size: int) -> int:
    """Pixels a side of the cut-outs of films of `size`: whole places of a backbone's last map, two at least."""
    return STRIDE * max(2, round(size * _SHARE / STRIDE))


def close_ups(films: Tensor) -> CloseUps:
    """Films (B, 1, S, S) with black around the lungs → their six zones.

    A zone that no lung reaches is the third of its side of the film, or of what there is of a lung on it.
    """
    size = films.shape[-1]
    drawn = drawn_on(films).float()
    sides = _sides(drawn)  # (B, 2, S)
    lungs = drawn * sides[:, :, None]  # (B, 2, S, S)
    first, last = _extent(lungs.amax(-1))  # (B, 2)
    edges = first[..., None] + (last - first)[..., None] * torch.arange(BANDS + 1).to(drawn) / BANDS  # (B, 2, 4)
    middles = middles_of(size).to(drawn)
    bands = ((middles >= edges[..., :-1, None]) & (middles < edges[..., 1:, None])).to(drawn)  # (B, 2, 3, S)
    found = (bands @ lungs).flatten(1, 2)  # (B, 6, S): pixels of each zone by column
    whole = sides.repeat_interleave(BANDS, 1)
    left, right = _extent(torch.where(found.sum(-1, keepdim=True) > 0, found, whole))
    top, bottom = edges[..., :-1].flatten(1), edges[..., 1:].flatten(1)
    side = torch.maximum(right - left, bottom - top) * (1 + _MARGIN)
    top, left = (top + bottom - side) / 2, (left + right - side) / 2
    edge = edge_of(size)
    rows, columns = _taken(top, side, edge, size), _taken(left, side, edge, size)
    return CloseUps(rows @ films.float() @ columns.mT, top, left, side, _counted(lungs, sides, bands))


def _sides(drawn: Tensor) -> Tensor:
    """(B, 1, S, S) → (B, 2, S): the columns of the film's left and right lung. The first of the right is the emptiest one within a sixth
    of the film's middle, and of several the nearest to it."""
    size = drawn.shape[-1]
    off = (middles_of(size).to(drawn) - size / 2).abs()
    gap = (drawn.sum((1, 2)) + off / size + size * (off > size / 6)).argmin(-1, keepdim=True)
    right = (torch.arange(size).to(gap) >= gap).to(drawn)
    return torch.stack([1 - right, right], 1)


def _counted(lungs: Tensor, sides: Tensor, bands: Tensor) -> Tensor:
    """The share of each finer place of the film in each zone: (B, 6, h', w'), each zone summing to 1."""
    size = lungs.shape[-1]
    pooled = shared_out(size // STRIDE * FINER, size).to(lungs)  # (h', S)
    rows = pooled * bands[..., None, :]  # (B, 2, 3, h', S)
    inside = (rows @ lungs[:, :, None] @ pooled.mT).flatten(1, 2)
    whole = (rows @ sides[:, :, None, None].expand(-1, -1, -1, size, -1) @ pooled.mT).flatten(1, 2)
    return counted(inside, whole)


def _extent(counts: Tensor) -> tuple[Tensor, Tensor]:
    """(…, n) → first place that counts and the one after the last, (…) each; 0 and n where none does."""
    there = (counts > 0).float()
    return there.argmax(-1).to(counts), counts.shape[-1] - there.flip(-1).argmax(-1).to(counts)


def _taken(start: Tensor, length: Tensor, edge: int, size: int) -> Tensor:
    """(B, 6) each → (B, 6, edge, size): the pixels that each of `edge` of a cut-out is the mean of, linear, wider where it is reduced.
    Beyond the film its border goes on."""
    scale = (length / edge)[..., None, None]
    wanted = (start[..., None] + middles_of(edge).to(start) * (length / edge)[..., None]).clamp(0.5, size - 0.5)
    near = (1 - (wanted[..., None] - middles_of(size).to(start)).abs() / scale.clamp(min=1)).clamp(min=0)
    return near / near.sum(-1, keepdim=True)
