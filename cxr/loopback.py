"""Whether a page of another site asks a service of this machine: what a request's own headers say of it, in every service alike.

A page of another site whose name is made to point to loopback (DNS rebinding) is of the same origin for a browser, and known by that name
in `Host` alone. Other pages may send what they like without asking for leave, and are known by `Origin`.
"""

import ipaddress
import re
from collections.abc import Collection, Sequence

READING = frozenset({"GET", "HEAD", "OPTIONS"})  # methods that change nothing
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")  # of a Host header: name or address, and a port


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def is_own_name(hosts: Sequence[str], names: Collection[str]) -> bool:
    """Whether there is a Host header, and every one of them names loopback or is one of `names` (in small letters, without ports)."""
    found = [HOST.fullmatch(host) for host in hosts]
    given = [match[1].lower() if match else "" for match in found]
    return bool(given) and all(is_loopback(name) or name in names for name in given)


def is_from_elsewhere(host: str, origin: str | None, fetch_site: str | None) -> bool:
    """Whether a browser says in `Origin` or `Sec-Fetch-Site` that a page of another site asks; other clients send neither header."""
    if origin is None:
        return fetch_site in ("cross-site", "same-site")
    return origin.partition("://")[2] != host
