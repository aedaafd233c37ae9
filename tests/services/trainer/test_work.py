"""What becomes of a version at the end of a protocol."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from services.trainer.events import EventLog
from services.trainer.protocol import Protocol
from services.trainer.records import Order, Records, now
from services.trainer.settings import Settings
from services.trainer.work import Work
from tests.services.trainer.ground import Obedient, recipe_on, wait_for_ever
from training import promotion
from training.promotion import GateClosed
from training.tracking import Tracking, default_uri


@pytest.mark.parametrize("first", [True, False])
def test_a_version_is_promoted_or_not_as_asked_for_last(
    first: bool, new_home: Callable[[], Path], phantom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> None:
        raise GateClosed("asked", [])

    monkeypatch.setattr(promotion, "promote", closed)
    home = new_home()
    tracking, settings = Tracking(default_uri(home), home), Settings(home=home)
    order = Order(recipe_on(phantom), phantom, first)
    protocol = Protocol(order.id, order.recipe.name, order, now(), EventLog(10), home / "log.txt")
    work = Work(protocol, order, settings, tracking, Records(tracking, "mdmt"), Obedient(Event(), wait_for_ever))
    name, tags = order.recipe.registered_name, {"mdmt.unit": "u", "mdmt.recipe_digest": order.recipe.digest()}
    tracking.client.create_registered_model(name)
    tracking.client.create_model_version(name, (home / "artifacts").as_uri(), tags=tags)
    assert protocol.take_over(replace(order, promote=not first))
    work._promote("u")
    assert protocol.registered is not None and protocol.registered["promoted"] is (None if first else False)
