"""Who may open the app, and where it listens. Decided only here; safe by default.

Options come from the command line, otherwise from the environment: MODELFORGE_HOST, MODELFORGE_PORT, MODELFORGE_AUTH
(user:password), MODELFORGE_ROOT_PATH, MODELFORGE_ALLOWED_HOSTS (names, separated by commas); on a Hugging Face Space
also from what the Space sets.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from modelforge.errors import AccessError
from modelforge.ui.middleware import Hosts


@dataclass(frozen=True)
class Access:
    """How the app is opened. port None: the first free one. auth: (user, password) or None. on_space: on a Space.
    names: further host names under which it is reached."""

    host: str
    port: int | None
    share: bool
    auth: tuple[str, str] | None
    root_path: str
    on_space: bool
    names: frozenset[str] = frozenset()

    def hosts(self) -> Hosts:
        """The names under which the app answers: those of this machine, and those that it was given."""
        public = {*self.names, urlsplit(self.root_path).hostname or ""} - {""}
        if _is_loopback(self.host):
            return Hosts(public=public, on_space=self.on_space)
        here = socket.gethostname().lower()
        own = frozenset({self.host.lower(), here, f"{here}.local"})
        return Hosts(own, public, any_address=True, on_space=self.on_space)

    @property
    def check_login(self) -> Callable[[str, str], bool] | None:
        """Gradio's check of a login; it compares in constant time."""
        if self.auth is None:
            return None
        user, password = self.auth

        def check(given_user: str, given_password: str) -> bool:
            right_user = secrets.compare_digest(given_user.encode(), user.encode())
            return secrets.compare_digest(given_password.encode(), password.encode()) and right_user

        return check


def decide_access(
    *,
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    auth: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Access:
    """Combine options and environment. Raises AccessError for a public address or link without a password.

    On a Space, the Hub decides who may open it, so any address is allowed there.
    """
    on_space = bool(environment.get("SPACE_ID"))
    host = host or environment.get("MODELFORGE_HOST") or (environment.get("GRADIO_SERVER_NAME") if on_space else None)
    chosen = host or ("0.0.0.0" if on_space else "127.0.0.1")  # noqa: S104 - a Space's container must be reachable
    login = _parse_login(auth or environment.get("MODELFORGE_AUTH") or "")
    if login is None and share:
        raise AccessError(
            "Anyone who has a share link can open it.",
            where="--share",
            fix="Add --auth USER:PASSWORD, or set MODELFORGE_AUTH.",
        )
    if login is None and not on_space and not _is_loopback(chosen):
        raise AccessError(
            f"On {chosen}, everyone in the network could use this app.",
            where="--host",
            fix="Add --auth USER:PASSWORD, or omit --host to listen on this machine only.",
        )
    allowed = environment.get("MODELFORGE_ALLOWED_HOSTS", "")
    return Access(
        host=chosen,
        port=port or _parse_port(environment.get("MODELFORGE_PORT") or environment.get("GRADIO_SERVER_PORT") or ""),
        share=share,
        auth=login,
        root_path=environment.get("MODELFORGE_ROOT_PATH", ""),
        on_space=on_space,
        names=frozenset(name.strip().lower() for name in f"{allowed},{environment.get('SPACE_HOST', '')}".split(",")),
    )


def _parse_login(text: str) -> tuple[str, str] | None:
    if not text:
        return None
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise AccessError("A login needs a name and a password.", where="--auth", fix="Write it as USER:PASSWORD.")
    return user, password


def _parse_port(text: str) -> int | None:
    if not text:
        return None
    if not text.isdigit() or not 0 < int(text) < 65_536:
        raise AccessError(f"{text!r} is not a valid port.", where="port", fix="Use a number from 1 to 65535.")
    return int(text)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
