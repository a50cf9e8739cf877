"""Which host names a server of ours answers to: its own, so that no website can reach it by a name that it points here
(DNS rebinding)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass
class Hosts:
    """The names that the app answers to, without ports, beside those of loopback.

    own: of this machine. public: under which a proxy or a share link shows the page. any_address: also every IP
    address, which no website can make its own. on_space: every name, since a Space is public anyway; and its page is
    in a frame of the Hub's.
    """

    own: frozenset[str] = frozenset()
    public: set[str] = field(default_factory=set)
    any_address: bool = False
    on_space: bool = False

    def accept(self, name: str) -> bool:
        """Whether a request to this name is for the app."""
        named = name in LOOPBACK or name in self.own or name in self.public
        return named or self.on_space or (self.any_address and _is_address(name))


def host_name(host: str) -> str:
    """The name in a Host header, without the port; empty for what is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
