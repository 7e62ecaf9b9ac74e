"""What keeps other web pages out of the room: names of hosts, origins, headers."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Answers only to the names it is meant to have, and changes nothing for other pages.

    A page elsewhere can send the browser here under a name of its own (DNS rebinding): such names
    are refused. What changes something needs the header ``X-Antiphon``, which other pages can't
    send, and if it names an origin, this one.

    Args:
        app: what is guarded.
        hosts: the names, without ports.
        addresses: whether any address in digits will do as well: where it listens on all of them.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], addresses: bool = False) -> None:
        self.app, self.addresses = app, addresses
        self.hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on and add the headers."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        path = scope["path"]

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if path.startswith("/api/"):
                    headers["cache-control"] = "no-store"
                else:
                    headers.setdefault("cache-control", "no-cache")
            await send(message)

        refusal = self._refusal(Headers(scope=scope), scope["method"])
        if refusal is None:
            await self.app(scope, receive, with_headers)
        else:
            status, why = refusal
            await JSONResponse({"error": why}, status)(scope, receive, with_headers)

    def _refusal(self, headers: Headers, method: str) -> tuple[int, str] | None:
        hosts = headers.getlist("host")
        name = hostname(hosts[0]) if len(hosts) == 1 else None
        if name is None or not self._answers_to(name):
            return 400, "this isn't a name that the room answers to"
        if method in _READING:
            return None
        if headers.get("x-antiphon") != "1":
            return 403, "what changes something needs the header X-Antiphon: 1"
        origins = headers.getlist("origin")
        if any(urlsplit(o).netloc.lower() != hosts[0].lower() for o in origins):
            return 403, "another page may not change anything here"
        return None

    def _answers_to(self, name: str) -> bool:
        return name in self.hosts or (self.addresses and _is_address(name))


def hostname(host: str) -> str | None:
    """The name in a Host header, without its port; None if it is none.

    >>> hostname("[::1]:8000"), hostname("LOCALHOST"), hostname("a@b"), hostname("a:b")
    ('::1', 'localhost', None, None)
    """
    if not host or any(c in host for c in "/@?#\\ \t"):
        return None
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018 - raises if it is no number
    except ValueError:
        return None
    return parts.hostname


def names_of(host: str) -> tuple[set[str], bool]:
    """The names that a server listening there answers to; and whether any address will do.

    Args:
        host: as uvicorn takes it.
    """
    names = {*LOOPBACK, host.strip("[]").lower()}
    everywhere = host in ("0.0.0.0", "::", "")
    if everywhere:
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return names, everywhere


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach a server there."""
    if host == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host.strip("[]")).is_loopback


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
