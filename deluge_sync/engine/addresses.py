"""Names made into addresses within a time, and which addresses are the public Internet's."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterable
from typing import Any, Union

from urllib3.util.connection import allowed_gai_family

from ..values.errors import DeadlineExceededError
from .alarm import Alarm
from .cancellation import Cancellation
from .clock import Clock, monotonic

AddressInfo = tuple[Any, ...]
"""What getaddrinfo gives: family, type, protocol, canonical name, address."""

_Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
_Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


def _networks(*texts: str) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# From IANA's registries of special-purpose addresses. Written out, as what `is_global` says of
# mapped, translated and tunnelled addresses differs from one version of Python to the next.
_SPECIAL = _networks(
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",  # public, but inside one cloud its metadata service
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""NAT64: how an IPv6-only network writes IPv4 addresses."""


def is_public(address: str) -> bool:
    """Whether `address` (numeric) is one host of the public Internet, in whatever form it is
    written: not private, loopback, link-local, shared, reserved, multicast or a metadata service.
    """
    try:
        plain = _unwrapped(ipaddress.ip_address(address))
    except ValueError:
        return False
    if "%" in address:  # a scope: only local addresses have one
        return False
    if isinstance(plain, ipaddress.IPv6Address) and plain not in _GLOBAL_UNICAST:
        return False
    # An IPv4 address is in no IPv6 network, and the other way round.
    return plain.is_global and not any(plain in network for network in _SPECIAL)


def is_loopback(address: str) -> bool:
    """Whether `address` (numeric) is this machine."""
    try:
        return _unwrapped(ipaddress.ip_address(address)).is_loopback
    except ValueError:
        return False


def _unwrapped(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 address is another way to write."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _TRANSLATED:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def numeric(addresses: Iterable[AddressInfo]) -> list[str]:
    """The addresses themselves, without ports."""
    return [str(address[-1][0]) for address in addresses]


def resolved(host: str, port: int) -> list[AddressInfo]:
    """The addresses of `host`, for as long as the system takes to find them."""
    return socket.getaddrinfo(host.strip("[]"), port, allowed_gai_family(), socket.SOCK_STREAM)


def resolved_within(
    host: str,
    port: int,
    *,
    deadline: float,
    cancellation: Cancellation,
    clock: Clock = monotonic,
) -> list[AddressInfo]:
    """The same, but no longer than until `deadline`.

    A look-up cannot be stopped: one that hangs is left behind, in a thread of its own that ends
    when the system gives up. Raises what getaddrinfo raises, `DeadlineExceededError` and
    `CallCancelledError`.
    """
    alarm = Alarm()
    found: list[list[AddressInfo]] = []
    failures: list[Exception] = []

    def look_up() -> None:
        try:
            found.append(resolved(host, port))
        except Exception as error:
            failures.append(error)
        finally:
            alarm.ring()

    cancellation.add(alarm.ring)
    try:
        threading.Thread(target=look_up, name="deluge-sync-look-up", daemon=True).start()
        while not found and not failures:
            cancellation.check()
            left = deadline - clock()
            if left <= 0:
                raise DeadlineExceededError(f"the deadline passed while resolving {host}")
            alarm.wait(left)
    finally:
        cancellation.discard(alarm.ring)
    if failures:
        raise failures[0]
    return found[0]
