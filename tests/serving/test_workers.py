"""Threads that compute films: every job is done once, in order, and nothing is lost at the end."""

import threading
import weakref
from concurrent.futures import Future, wait

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.workers import Workers


@given(threads=st.integers(1, 4), jobs=st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_every_job_is_done_once_and_gives_its_own_result(threads: int, jobs: int) -> None:
    workers, done = Workers(threads), []
    futures = [workers.submit(lambda number=number: done.append(number) or number) for number in range(jobs)]
    assert [future.result(5) for future in futures] == list(range(jobs))
    assert sorted(done) == list(range(jobs))
    workers.close()


def test_one_thread_takes_jobs_in_the_order_of_submission() -> None:
    workers, open_, done = Workers(1), threading.Event(), []
    futures: list[Future[object]] = [workers.submit(open_.wait)]
    futures += [workers.submit(lambda number=number: done.append(number)) for number in range(20)]
    open_.set()
    wait(futures, 5)
    assert done == list(range(20))
    workers.close()


def test_no_more_jobs_run_at_once_than_there_are_threads() -> None:
    workers, started, open_ = Workers(2), threading.Semaphore(0), threading.Event()

    def job() -> None:
        started.release()
        open_.wait(5)

    futures = [workers.submit(job) for _ in range(5)]
    assert started.acquire(timeout=5) and started.acquire(timeout=5)
    assert not started.acquire(timeout=0.2)
    open_.set()
    wait(futures, 5)
    workers.close()


def test_a_lone_caller_stays_on_one_thread() -> None:
    workers, open_ = Workers(3), threading.Barrier(3)
    wait([workers.submit(open_.wait) for _ in range(3)], 5)
    # Each is waited for, so that a thread has said that it is idle before the next job comes.
    used = set()
    for _ in range(20):
        used.add(workers.submit(threading.get_ident).result(5))
        workers.submit(lambda: None).result(5)
    assert len(used) <= 2  # the one that worked last, or the one before it where that had not yet said so
    workers.close()


def test_what_a_job_raises_is_raised_where_it_is_waited_for_and_the_thread_goes_on() -> None:
    workers = Workers(1)
    for error in (ValueError("bad film"), KeyboardInterrupt()):

        def job(error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)):
            workers.submit(job).result(5)
    assert workers.submit(lambda: 7).result(5) == 7
    workers.close()


def test_a_job_that_was_cancelled_while_it_waited_is_not_done() -> None:
    workers, open_, done = Workers(1), threading.Event(), []
    first = workers.submit(lambda: open_.wait(5))
    second = workers.submit(lambda: done.append("second"))
    third = workers.submit(lambda: done.append("third"))
    assert second.cancel()
    open_.set()
    wait([first, third], 5)
    assert done == ["third"]
    workers.close()


def test_closing_does_what_was_submitted_and_takes_nothing_more() -> None:
    workers, open_, done = Workers(1), threading.Event(), []
    futures: list[Future[object]] = [workers.submit(lambda: open_.wait(5))]
    futures += [workers.submit(lambda number=number: done.append(number)) for number in range(3)]
    workers.close()
    with pytest.raises(RuntimeError, match="closed"):
        workers.submit(lambda: None)
    open_.set()
    wait(futures, 5)
    assert done == [0, 1, 2]


def test_a_thread_that_waits_holds_nothing_of_its_last_job() -> None:
    class Version:
        pass

    workers, version = Workers(1), Version()
    kept = weakref.ref(version)
    assert workers.submit(lambda version=version: version is not None).result(5)
    workers.submit(lambda: None).result(5)  # the first job's frame is gone by then
    del version
    assert kept() is None
    workers.close()
