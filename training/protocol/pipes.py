"""A worker's standard input and output: jobs come in as lines, events go out as lines."""

import json
import os
import sys
from collections.abc import Callable
from threading import Lock

from training.protocol.job import Job


class Pipes:
    """Takes standard output for events; what is printed from now on goes to standard error."""

    def __init__(self) -> None:
        self._events = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints must not break the protocol
        self._lock = Lock()

    def say(self, event: str, **fields: object) -> None:
        with self._lock:
            self._events.write(json.dumps({"event": event, **fields}) + "\n")
            self._events.flush()

    def serve(self, do: Callable[[Job], None]) -> None:
        """Do the jobs one after another, until standard input ends."""
        self.say("idle")
        for line in sys.stdin:
            do(Job.model_validate_json(line))
            self.say("idle")
