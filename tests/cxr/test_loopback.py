"""Which Host and Origin headers are those of this machine's own callers."""

import pytest

from cxr.loopback import is_from_elsewhere, is_own_name


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8:1", "localhost", "LOCALHOST:8000", "[::1]:8000"])
def test_loopback_is_an_own_name(host: str) -> None:
    assert is_own_name([host], ())


@pytest.mark.parametrize(
    "host", ["", "evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "10.1.2.3", "0.0.0.0", "[::1"]
)
def test_any_other_name_is_one_only_where_it_is_listed(host: str) -> None:
    assert not is_own_name([host], ("mdmt",))
    assert is_own_name(["Mdmt:80"], ("mdmt",))


def test_no_host_is_none_and_of_two_both_must_be_known() -> None:
    assert not is_own_name([], ("mdmt",))
    assert not is_own_name(["localhost", "evil.example"], ("mdmt",))


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:81", "null", "http://[", ""])
def test_a_page_of_another_origin_is_from_elsewhere(origin: str) -> None:
    assert is_from_elsewhere("localhost:80", origin, "same-origin")


def test_an_own_page_and_a_client_that_is_no_browser_are_not() -> None:
    assert not is_from_elsewhere("[::1]:80", "http://[::1]:80", "same-origin")
    assert not is_from_elsewhere("localhost", None, None)
    assert is_from_elsewhere("localhost", None, "cross-site")
