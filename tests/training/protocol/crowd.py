"""Processes that work on claims and are killed, frozen and woken meanwhile."""

import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from training.protocol.claim import Claim, ClaimLost
from training.protocol.claims import ClaimTable

# A fork server has neither the threads nor the connections of the test process.
CONTEXT = multiprocessing.get_context("forkserver")


class Crowd:
    """Processes that tests may hurt; none is left at the end."""

    def __init__(self) -> None:
        self.processes: list[ForkServerProcess] = []

    def start(self, target: Callable[..., None], *args: Any) -> ForkServerProcess:
        process = CONTEXT.Process(target=target, args=args, daemon=True)
        process.start()
        self.processes.append(process)
        return process

    def ask(self, target: Callable[..., None], *args: Any) -> tuple[ForkServerProcess, Connection]:
        """Start a process that gets a pipe as its first argument."""
        ours, theirs = CONTEXT.Pipe()
        process = self.start(target, theirs, *args)
        theirs.close()
        return process, ours

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()


def work(uri: str, units: Sequence[str], owner: str, journal: Path, ttl: float, longest: float) -> None:
    """A worker: claims what is free, pretends to work, commits, and writes down what it was told, until every unit is committed."""
    table, dice, todo = ClaimTable(uri, ttl_seconds=ttl), random.Random(owner), list(units)
    dice.shuffle(todo)
    with journal.open("a", buffering=1) as lines:
        while todo:
            for unit in todo[:20]:
                claim = table.acquire(unit, owner)
                if not isinstance(claim, Claim):
                    continue
                run = f"{owner}/{claim.fence}"
                try:
                    table.record_run(claim, run)
                    time.sleep(dice.uniform(0, longest))
                    table.commit(claim, run)
                    told = "committed"
                except ClaimLost:
                    told = "lost"
                lines.write(json.dumps({"unit": unit, "run": run, "told": told, "at": time.monotonic()}) + "\n")
            states = table.states(todo)
            todo = [unit for unit in todo if unit not in states or states[unit].state != "committed"]
            dice.shuffle(todo)


def read(folder: Path) -> list[dict[str, Any]]:
    """All that workers were told. Who was killed while writing leaves half a line."""
    entries = []
    for journal in folder.glob("*.jsonl"):
        for line in journal.read_text().splitlines():
            with suppress(json.JSONDecodeError):
                entries.append(json.loads(line))
    return entries


def audit(uri: str, units: Sequence[str], entries: Sequence[dict[str, Any]]) -> None:
    """Every unit committed, nobody told so who was not the one, nobody told twice."""
    states = ClaimTable(uri).states(units)
    assert {unit for unit, standing in states.items() if standing.state == "committed"} == set(units)
    told = [entry for entry in entries if entry["told"] == "committed"]
    assert all(states[entry["unit"]].run_id == entry["run"] for entry in told)
    assert max(Counter(entry["unit"] for entry in told).values()) == 1
    assert all(states[entry["unit"]].run_id != entry["run"] for entry in entries if entry["told"] == "lost")


def chaos(crowd: Crowd, spawn: Callable[[], None], seconds: float, ttl: float, dice: random.Random) -> Counter[str]:
    """Kill and replace, or freeze for up to twice the TTL, one process after another. Everybody is awake afterwards."""
    done: Counter[str] = Counter()
    frozen: dict[ForkServerProcess, float] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(process.is_alive() for process in crowd.processes):
        time.sleep(dice.uniform(0.02, 0.15))
        for process in [process for process, wake in frozen.items() if wake < time.monotonic()]:
            send(process, signal.SIGCONT)
            del frozen[process]
        victim = dice.choice(crowd.processes)
        if not victim.is_alive() or victim in frozen:
            continue
        if dice.random() < 0.5:
            send(victim, signal.SIGKILL)
            crowd.processes.remove(victim)
            victim.join()
            spawn()
            done["killed"] += 1
        else:
            send(victim, signal.SIGSTOP)
            frozen[victim] = time.monotonic() + dice.uniform(0.1, 2 * ttl)
            done["frozen"] += 1
    for process in frozen:
        send(process, signal.SIGCONT)
    return done


def send(process: ForkServerProcess, number: signal.Signals) -> None:
    assert process.pid is not None
    os.kill(process.pid, number)
