"""Over which places of the film a head's mean is taken: all alike, a zone, or the lungs; and where on the film an answer then comes from.

Lungs are the pixels of a film that are not its black: `crop="masked"` (cxr.pipeline) leaves nothing else. A network's last map is too
coarse to follow their border, so it is taken as enlarged linearly to `FINER` times its places a side, and the mean is over the lungs
there. Means are linear, so no enlarged map is computed: its places count in the coarse one's by how far they reach.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from training.learning.zones import shared_out, zone_shares

FINER = 4


class Places(NamedTuple):
    """`shares` (h', w') or (B, 1, h', w') of the mean, summing to 1, on the map's own grid (h, w) or, by `rows` (h', h) and `columns`
    (w, w'), on a finer one."""

    shares: Tensor
    rows: Tensor | None = None
    columns: Tensor | None = None

    def mean(self, feature_map: Tensor) -> Tensor:
        """(B, F, h, w) → (B, F)"""
        shares = self.shares
        if self.rows is not None and self.columns is not None:
            shares = self.rows.mT @ shares @ self.columns.mT  # what each coarse place counts
        return (feature_map * shares).sum((-2, -1))

    def spread(self, added: Tensor) -> Tensor:
        """What a mean adds to each logit, were it of one place alone, (B, C, h, w) → what each place adds, (B, C, h', w')."""
        if self.rows is not None and self.columns is not None:
            added = self.rows @ added @ self.columns
        return added * self.shares


def drawn_on(films: Tensor) -> Tensor:
    """Films (B, 1, S, S) → bool, likewise: the pixels that are not the film's black."""
    return films > films.amin((-2, -1), keepdim=True)


def lungs_on(films: Tensor, feature_map: Tensor) -> Tensor:
    """Films (B, 1, S, S) → (B, 1, h', w') of a map (B, F, h, w): the share of each finer place that is brighter than the film's black."""
    height, width = (FINER * side for side in feature_map.shape[-2:])
    drawn = drawn_on(films).to(feature_map)
    return shared_out(height, films.shape[-2]).to(feature_map) @ drawn @ shared_out(width, films.shape[-1]).to(feature_map).mT


def places_of(zone: int | None, feature_map: Tensor, lungs: Tensor | None) -> Places | None:
    """The places that a head of a zone (0..5), or of no zone, is given the mean of; None: all, alike. `lungs` as from `lungs_on`, None:
    whatever is there.

    A zone that no lung reaches, and a film without any, have the mean over all of their places.
    """
    if lungs is None:
        return None if zone is None else Places(zone_shares(feature_map)[zone])
    whole = torch.ones_like(lungs) if zone is None else zone_shares(lungs)[zone].expand_as(lungs)
    rows, columns = (between(middles_of(FINER * side) / FINER, side).to(feature_map) for side in feature_map.shape[-2:])
    return Places(counted(lungs * whole, whole), rows, columns.mT)


def counted(lungs: Tensor, whole: Tensor) -> Tensor:
    """What each place (…, h, w) counts, summing to 1: by the lungs on it, or, where there are none on any, by what there is of `whole`."""
    shares = torch.where(lungs.sum((-2, -1), keepdim=True) > 0, lungs, whole)
    return shares / shares.sum((-2, -1), keepdim=True)


def between(wanted: Tensor, length: int) -> Tensor:
    """Points (…, n) of a line of `length` places, from 0 to `length` → (…, n, length): linear interpolation between the middles of its
    places, constant beyond the first and last."""
    nearest = (wanted - 0.5).clamp(0, length - 1)
    return (1 - (nearest[..., None] - torch.arange(length).to(wanted)).abs()).clamp(min=0)


def middles_of(length: int) -> Tensor:
    """(length,): the middles of so many places of size 1."""
    return torch.arange(length) + 0.5
