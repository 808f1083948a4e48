"""Which addresses may be reached from here: the check behind every outgoing connection.

Owns the reading of URLs and hosts, the resolving, and the verdict on each address. Does not own connections
(`streams.outgoing`, `streams.sources.bluesky`).

What may be reached:
- any public unicast address, after IPv4 hidden in IPv6 was unwrapped;
- `trusted_hosts`: hosts that the operator wrote into the configuration as a literal IP address or `localhost`
  (`operator_hosts(url)` says so), for exactly that host;
- `allow`: host names and networks (CIDR) that the operator listed.
Link-local addresses and the metadata services of clouds never, whoever wishes it. One refused address refuses the name.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Final

import httpx
from pydantic import AfterValidator

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""A host name and a port in, addresses as text out; raises OSError where there is none."""

_NEVER: Final = tuple(
    ip_network(network)
    for network in (
        "169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "fd20:ce::/32", "100.100.100.200/32", "168.63.129.16/32",
        "192.0.0.192/32", "0.0.0.0/8", "::/128", "224.0.0.0/4", "ff00::/8", "255.255.255.255/32",
    )
)  # fmt: skip
_NEVER_NAMES: Final = frozenset({"metadata.google.internal", "metadata.goog", "instance-data"})
_NOT_PUBLIC: Final = tuple(
    ip_network(network) for network in ("192.88.99.0/24", "192.0.0.0/24", "2001::/23", "3fff::/20", "64:ff9b:1::/48")
)
_PUBLIC_V6: Final = ip_network("2000::/3")
_WRAPPED: Final = ((ip_network("::/96"), 0), (ip_network("64:ff9b::/96"), 0), (ip_network("2002::/16"), 80))
"""IPv6 networks with an IPv4 address inside, and how many bits stand behind it (`::ffff:0:0/96` has its own way)."""
_HOST: Final = re.compile(r"[^\s/:@*?#\[\]]+")
_IPV4_LIKE: Final = re.compile(r"(?:.*\.)?(?:\d+|0[xX][0-9a-fA-F]*)")


class AddressRefused(httpx.TransportError):
    """A host or URL that must not be reached; the message says why and, where there is one, the remedy."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What one client may reach. `allow` holds host names and networks, `trusted` hosts written as literals."""

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    trusted: frozenset[str] = frozenset()
    resolve: Resolver | None = None

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return the checked addresses of `host`; AddressRefused if any one of them must not be reached."""
        host = plain_host(host)
        try:
            found = [str(ip_address(host))]
        except ValueError:
            try:
                found = list(await (self.resolve or _resolve)(host, port))
            except (OSError, UnicodeError) as error:
                raise httpx.ConnectError(f"{host}: the name can't be resolved ({error})") from error
        if not found:
            raise httpx.ConnectError(f"{host}: the name has no address")
        for text in found:
            reason = self._refusal(host, ip_address(text))
            if reason:
                raise AddressRefused(f"{host} leads to {text}, {reason}")
        return found

    def _refusal(self, host: str, address: Address) -> str | None:
        inner = unwrap(address)
        if any(inner in network or address in network for network in _NEVER):
            return "a link-local, metadata or unusable address, which is never reached"
        if host in self.trusted or host in self.names or any(inner in network for network in self.networks):
            return None
        return None if is_public(inner) else "which is not public; list the host under `allow` if it is meant"


def guard(allow: Iterable[str] = (), trusted_hosts: Iterable[str] = (), resolve: Resolver | None = None) -> Guard:
    """Return a guard; `allow` mixes host names and networks such as 10.1.0.0/16."""
    names: set[str] = set()
    networks: list[Network] = []
    for entry in allow:
        try:
            networks.append(ip_network(entry))
        except ValueError:
            names.add(plain_host(entry))
    return Guard(frozenset(names), tuple(networks), frozenset(map(plain_host, trusted_hosts)), resolve)


def _allowable(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a setting allows; ValueError for an entry that `guard` could never match."""
    for entry in entries:
        if not _is_network(entry) and not _is_host(entry):
            raise ValueError(
                f"{entry!r} can't be allowed; write a host name alone, such as hooks.example.org, "
                "or a network such as 10.1.0.0/16"
            )
    return entries


Allowed = Annotated[tuple[str, ...], AfterValidator(_allowable)]
"""A setting's host names and networks that may be reached."""


def _is_network(entry: str) -> bool:
    try:
        ip_network(entry)
    except ValueError:
        return False
    return True


def _is_host(entry: str) -> bool:
    try:
        return _HOST.fullmatch(plain_host(entry)) is not None
    except AddressRefused:
        return False


def unwrap(address: Address) -> Address:
    """Return the IPv4 address inside a mapped, compatible, NAT64 or 6to4 address; any other as it is."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    for network, behind in _WRAPPED:
        if address in network and int(address) > 1:
            return IPv4Address((int(address) >> behind) & 0xFFFF_FFFF)
    return address


def is_public(address: Address) -> bool:
    """Return whether an unwrapped address is global unicast. `ipaddress.is_global` alone lets far too much through."""
    if any(address in network for network in _NOT_PUBLIC) or address.is_multicast or address.is_reserved:
        return False
    return address.is_global and (isinstance(address, IPv4Address) or address in _PUBLIC_V6)


def plain_host(host: str) -> str:
    """Return a host in lower case without brackets and final dot; AddressRefused for spellings that hide an address."""
    host = host.lower().strip("[]")
    host = host.removesuffix(".")
    if not host or "%" in host or host in _NEVER_NAMES:
        raise AddressRefused(f"{host or 'an empty host'} is never reached")
    if _IPV4_LIKE.fullmatch(host):
        try:
            IPv4Address(host)
        except ValueError as error:
            raise AddressRefused(f"{host}: write an IPv4 address as four decimal numbers") from error
    return host


def checked_url(url: str, schemes: Sequence[str] = ("http", "https")) -> httpx.URL:
    """Return `url` parsed; AddressRefused for another scheme, a missing host or credentials. Resolves nothing."""
    try:
        parsed = httpx.URL(url)
        host = parsed.host  # read only now: a name such as xn-- is found out when it is read
    except (httpx.InvalidURL, TypeError, ValueError) as error:
        raise AddressRefused(f"not a URL: {error}") from error
    if parsed.scheme not in schemes:
        raise AddressRefused(f"the scheme {parsed.scheme!r} is not one of {', '.join(schemes)}")
    if parsed.userinfo:
        raise AddressRefused(f"the URL of {host} has credentials in it; refer to a secret instead")
    plain_host(host)
    return parsed


def operator_hosts(*urls: str) -> frozenset[str]:
    """Return the hosts of configured URLs that are literal IP addresses or `localhost`: those are meant as written."""
    hosts = {plain_host(checked_url(url, ("http", "https", "ws", "wss")).host) for url in urls}
    return frozenset(host for host in hosts if host == "localhost" or _is_literal(host))


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A checked WebSocket endpoint: connect to `addresses` at `port`, keep `host` for Host and TLS."""

    url: str
    host: str
    port: int
    addresses: tuple[str, ...]


async def check_endpoint(url: str, rules: Guard | None = None) -> Endpoint:
    """Return where a configured ws:// or wss:// URL leads; AddressRefused or httpx.ConnectError if nowhere.

    Without `rules` the URL counts as written by the operator.
    """
    parsed = checked_url(url, ("ws", "wss"))
    port = parsed.port or (443 if parsed.scheme == "wss" else 80)
    rules = rules or guard(trusted_hosts=operator_hosts(url))
    return Endpoint(url, parsed.host, port, tuple(await rules.addresses(parsed.host, port)))


async def _resolve(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[4][0]) for place in found))
