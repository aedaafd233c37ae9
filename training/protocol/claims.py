"""Who is at a unit, who may commit it, and what failed: a lease with a fence per unit.

A worker acquires a unit before it trains it. The claim is a lease (Gray and Cheriton, SOSP 1989): who stops renewing it, for whatever
reason, loses it after `ttl_seconds`, so a dead worker is found without anybody watching. A lease alone is not enough: a process that
was paused (SIGSTOP, a sleeping laptop, a stalled disk) wakes up believing that it still holds it. So every acquisition raises the
unit's fence by one, and whatever is written names its fence; an older fence is refused by the database (Burrows, "The Chubby lock
service", OSDI 2006, section 2.4; Kleppmann, "How to do distributed locking", 2016). Times are those of the database, never a worker's.

This table is not where results are. A unit is done when its MLflow run is FINISHED; the order is: artifacts and metrics into the run,
`commit(claim, run_id)`, then the run is set to FINISHED. A crash between the last two leaves a committed run that is not FINISHED:
whoever comes next is answered Committed(run_id), and finishes that run instead of training again. A run that was committed but cannot
be read (deleted, artifacts lost) is given back by `reopen`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from training.protocol.claim import Busy, Claim, ClaimLost, Committed, Quarantined, Standing, State
from training.protocol.claims_database import CLAIMS, ClaimsDatabase

KINDS = ("exception", "out-of-memory", "killed", "hang", "segfault")
KILLED = "killed"
REASONS_KEPT, REASON_LENGTH = 5, 500
CHUNK = 500  # units per query: databases bound the number of parameters
NO_FAILURES: dict[str, Any] = {"counts": {}, "last": []}


class ClaimTable:
    """The claims on units in the database at `uri` (a SQLite file on a local disk, or `postgresql+psycopg://`).

    Every call is one transaction, safe between threads, processes and machines. While the database is down it is tried again for
    `patience_seconds`; then, and at once for what waiting does not mend, ClaimsUnavailable is raised. Any call but `acquire` can be
    repeated without harm; an acquisition whose answer got lost makes the unit Busy for one TTL.
    """

    def __init__(self, uri: str, ttl_seconds: float = 60, patience_seconds: float = 60) -> None:
        if ttl_seconds <= 0:
            raise ValueError(f"a lease of {ttl_seconds} seconds is over before it begins; allowed: more than 0, usual: 60")
        self.ttl_seconds = ttl_seconds
        self._database = ClaimsDatabase(uri, patience_seconds)

    def acquire(self, unit: str, owner: str) -> Claim | Busy | Committed | Quarantined:
        """Claim a unit (its fingerprint). `owner` is for people: machine and process.

        A Claim when nobody holds the unit or the lease has run out, with a fence one higher than the last; else the reason why not.
        """
        return self._database.write(self._acquire, unit, owner)

    def record_run(self, claim: Claim, run_id: str) -> None:
        """Remember the MLflow run of this attempt, for whoever has to go on with it. Raises ClaimLost."""
        self._database.write(self._record_run, claim, run_id)

    def renew(self, claim: Claim) -> None:
        """Start the lease anew, also one that has run out and was taken by nobody.

        A single try, because a Lease calls it in its own rhythm. Raises ClaimLost, ClaimsUnavailable.
        """
        self._database.write_once(self._renew, claim)

    def commit(self, claim: Claim, run_id: str) -> None:
        """Make a run the result of the unit: once and for all, and only with the newest fence, whatever became of the lease.

        Raises ClaimLost, and then nothing was changed. Repeating a commit that succeeded is allowed.
        """
        self._database.write(self._commit, claim, run_id)

    def reopen(self, unit: str, run_id: str) -> None:
        """Undo the commit of a run that is deleted or unreadable; without effect when the unit is committed to another run, or to none."""
        self._database.write(self._reopen, unit, run_id)

    def release(self, claim: Claim) -> None:
        """Give the unit back at once, as a worker does that is told to stop; without effect on a claim that is lost anyway."""
        self._database.write(self._release, claim)

    def fail(self, claim: Claim, kind: str, reason: str, budget: int) -> bool:
        """Count a failure and give the unit back; returns whether the unit is now quarantined.

        `kind` is one of KINDS. It is quarantined when its failures reach `budget`; "killed" is counted apart from the others, since it
        tells more about the surroundings than about the unit. Raises ClaimLost. A failure of the same fence is counted once, so a
        worker and its runner may both report it.
        """
        return self.fail_unit(claim.unit, claim.fence, kind, reason, budget)

    def fail_unit(self, unit: str, fence: int, kind: str, reason: str, budget: int) -> bool:
        """`fail` by numbers: for the runner whose worker process died while it held the unit."""
        if kind not in KINDS:
            raise ValueError(f"unknown kind of failure {kind!r}; allowed: {', '.join(KINDS)}")
        if budget < 1:
            raise ValueError(f"a budget of {budget} failures would quarantine before the first; allowed: 1 and more")
        return self._database.write(self._fail, unit, fence, kind, reason[:REASON_LENGTH], budget)

    def quarantined(self) -> dict[str, str]:
        """Unit → why nobody may try it again."""
        return self._database.read(self._quarantined)

    def forgive(self, units: Iterable[str] | None = None) -> None:
        """Forget the failures of these units (None: of all), so that they may be tried again."""
        self._database.write(self._forgive, None if units is None else list(units))

    def states(self, units: Iterable[str]) -> dict[str, Standing]:
        """Unit → how it stands, for the units that were ever acquired; some thousands are read at once."""
        return self._database.read(self._states, list(units))

    def close(self) -> None:
        """Close the idle connections."""
        self._database.close()

    def _acquire(self, connection: Connection, unit: str, owner: str) -> Claim | Busy | Committed | Quarantined:
        row = self._row(connection, unit)
        if row is None:
            self._add(connection, unit)
            return self._acquire(connection, unit, owner)
        if row.committed is not None:
            return Committed(row.committed)
        if row.quarantine is not None:
            return Quarantined(row.quarantine, _count(row))
        if row.owner is not None and row.seconds_left > 0:
            return Busy(row.owner, row.seconds_left)
        fence = row.fence + 1
        self._set(connection, unit, fence=fence, owner=owner, lease_ends=self._database.now + self.ttl_seconds)
        return Claim(unit, fence, owner, row.run)

    def _record_run(self, connection: Connection, claim: Claim, run_id: str) -> None:
        self._held(connection, claim.unit, claim.fence)
        self._set(connection, claim.unit, run=run_id)

    def _renew(self, connection: Connection, claim: Claim) -> None:
        self._held(connection, claim.unit, claim.fence)
        self._set(connection, claim.unit, lease_ends=self._database.now + self.ttl_seconds)

    def _commit(self, connection: Connection, claim: Claim, run_id: str) -> None:
        row = self._row(connection, claim.unit)
        if row is not None and (row.fence, row.committed) == (claim.fence, run_id):
            return  # ours already: the connection broke after the commit and before its answer
        self._held(connection, claim.unit, claim.fence)
        self._set(connection, claim.unit, committed=run_id, run=run_id, owner=None, lease_ends=None)

    def _reopen(self, connection: Connection, unit: str, run_id: str) -> None:
        row = self._row(connection, unit)
        if row is not None and row.committed == run_id:
            self._set(connection, unit, committed=None, run=None)

    def _release(self, connection: Connection, claim: Claim) -> None:
        row = self._row(connection, claim.unit)
        if row is not None and row.fence == claim.fence:
            self._set(connection, claim.unit, owner=None, lease_ends=None)

    def _fail(self, connection: Connection, unit: str, fence: int, kind: str, reason: str, budget: int) -> bool:
        row = self._row(connection, unit)
        if row is not None and any(failure["fence"] == fence for failure in row.failures["last"]):
            return row.quarantine is not None
        row = self._held(connection, unit, fence)
        counts = Counter(row.failures["counts"]) + Counter([kind])
        last = [*row.failures["last"], {"kind": kind, "reason": reason, "fence": fence}][-REASONS_KEPT:]
        spent = counts[KILLED] if kind == KILLED else counts.total() - counts[KILLED]
        quarantine = f"{kind}, failure {spent} of {budget} allowed: {reason}" if spent >= budget else None
        failures = {"counts": dict(counts), "last": last}
        self._set(connection, unit, owner=None, lease_ends=None, failures=failures, quarantine=quarantine)
        return quarantine is not None

    def _quarantined(self, connection: Connection) -> dict[str, str]:
        query = select(CLAIMS.c.unit, CLAIMS.c.quarantine).where(CLAIMS.c.quarantine.is_not(None)).order_by(CLAIMS.c.unit)
        return {row.unit: row.quarantine for row in connection.execute(query)}

    def _forgive(self, connection: Connection, units: Sequence[str] | None) -> None:
        forgiven = update(CLAIMS).values(quarantine=None, failures=NO_FAILURES)
        if units is None:
            connection.execute(forgiven)
            return
        for chunk in _chunks(sorted(units)):
            connection.execute(forgiven.where(CLAIMS.c.unit.in_(chunk)))

    def _states(self, connection: Connection, units: Sequence[str]) -> dict[str, Standing]:
        query = select(CLAIMS, (CLAIMS.c.lease_ends - self._database.now).label("seconds_left"))
        rows = (row for chunk in _chunks(units) for row in connection.execute(query.where(CLAIMS.c.unit.in_(chunk))))
        return {row.unit: _standing(row) for row in rows}

    def _add(self, connection: Connection, unit: str) -> None:
        insert = postgresql.insert if self._database.dialect == "postgresql" else sqlite.insert
        connection.execute(insert(CLAIMS).values(unit=unit, fence=0, failures=NO_FAILURES).on_conflict_do_nothing())

    def _row(self, connection: Connection, unit: str) -> Row[Any] | None:
        query = select(CLAIMS, (CLAIMS.c.lease_ends - self._database.now).label("seconds_left"))
        return connection.execute(query.where(CLAIMS.c.unit == unit).with_for_update()).one_or_none()

    def _held(self, connection: Connection, unit: str, fence: int) -> Row[Any]:
        """The row, locked, of a claim that is still valid. Raises ClaimLost."""
        row = self._row(connection, unit)
        if row is None:
            raise ClaimLost(unit, fence, "this database has never seen the unit")
        if row.fence != fence:
            raise ClaimLost(unit, fence, f"fence {row.fence} was given out since")
        if row.committed is not None:
            raise ClaimLost(unit, fence, f"run {row.committed} is committed")
        if row.owner is None:
            raise ClaimLost(unit, fence, "it was given back")
        return row

    def _set(self, connection: Connection, unit: str, **values: Any) -> None:
        connection.execute(update(CLAIMS).where(CLAIMS.c.unit == unit).values(**values))


def _standing(row: Row[Any]) -> Standing:
    held = row.owner is not None and row.seconds_left > 0
    state: State = "busy" if held else "free"
    if row.committed is not None:
        state = "committed"
    elif row.quarantine is not None:
        state = "quarantined"
    reasons = tuple(f"{failure['kind']}: {failure['reason']}" for failure in row.failures["last"])
    return Standing(state, row.fence, row.owner, row.seconds_left, row.committed or row.run, _count(row), reasons)


def _count(row: Row[Any]) -> int:
    return sum(row.failures["counts"].values())


def _chunks(units: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(units)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
