"""A setting that is not allowed is named by its variable, with what is allowed, and a secret is never repeated."""

import pytest
from pydantic import Field, SecretStr

from cxr.environment import BadSetting, FromEnvironment


class Settings(FromEnvironment):
    queue: int = Field(30, ge=0)
    signing_key: int = 0
    secret: SecretStr = SecretStr("")


def test_a_wrong_value_is_named_by_its_variable_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDMT_QUEUE", "-1")
    with pytest.raises(BadSetting, match=r"^MDMT_QUEUE is '-1': input should be greater than or equal to 0$"):
        Settings()


def test_what_may_be_a_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDMT_SIGNING_KEY", "canary")
    monkeypatch.setenv("MDMT_QUEUE", "x" * 1000)
    with pytest.raises(BadSetting, match=r"^MDMT_QUEUE is 'x{80}': .*; MDMT_SIGNING_KEY: ") as refused:
        Settings()
    assert "canary" not in str(refused.value)


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDMT_QUEUE", "")
    assert Settings().queue == 30
