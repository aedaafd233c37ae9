"""Keeps a claim alive while its unit is being worked on."""

import logging
from threading import Event, Thread
from types import TracebackType
from typing import Self

from training.protocol.claim import Claim, ClaimLost
from training.protocol.claims import ClaimTable
from training.protocol.claims_database import ClaimsUnavailable

log = logging.getLogger(__name__)


class Lease:
    """`with Lease(table, claim) as lease:` renews the claim every third of its TTL, in a thread.

    `lost` is set, and `check` raises ClaimLost, once the database says that the claim is no longer valid. A database that does not
    answer says nothing of the kind: the work goes on and is asked for its fence when it commits. After the work was committed or
    given back inside the block, `lost` means nothing any more.
    """

    def __init__(self, table: ClaimTable, claim: Claim) -> None:
        self.lost = Event()
        self.claim = claim
        self._table = table
        self._over = Event()
        self._why: ClaimLost | None = None
        self._thread = Thread(target=self._renew, name=f"lease of {claim.unit[:12]}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Renew no more. From the end of a `with` block, or by whoever the lease was handed on to."""
        self._over.set()
        self._thread.join(timeout=1)  # a renewal that hangs in a dead connection is left behind: its fence makes it harmless

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def check(self) -> None:
        """Raise ClaimLost when the claim is lost: between epochs is a good moment."""
        if self._why is not None:
            raise self._why

    def _renew(self) -> None:
        third = self._table.ttl_seconds / 3
        pause = third
        while not self._over.wait(pause):
            try:
                self._table.renew(self.claim)
                pause = third
            except ClaimLost as error:
                self._why = error
                self.lost.set()
                return
            except ClaimsUnavailable as error:
                log.warning("lease not renewed, trying again: %s", error)
                pause = third / 3
