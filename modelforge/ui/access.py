"""Who may open the app, where it listens, and that one app has a home open. Decided only here; safe by default.

Options come from the command line, otherwise from the environment: MODELFORGE_HOST, MODELFORGE_PORT, MODELFORGE_AUTH
(user:password), MODELFORGE_ROOT_PATH; on a Hugging Face Space also from what the Space sets.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from modelforge import paths
from modelforge.errors import AccessError


@dataclass(frozen=True)
class Access:
    """How the app is opened. port None: the first free one. auth: (user, password) or None. on_space: on a Space."""

    host: str
    port: int | None
    share: bool
    auth: tuple[str, str] | None
    root_path: str
    on_space: bool

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
    return Access(
        host=chosen,
        port=port or _parse_port(environment.get("MODELFORGE_PORT") or environment.get("GRADIO_SERVER_PORT") or ""),
        share=share,
        auth=login,
        root_path=environment.get("MODELFORGE_ROOT_PATH", ""),
        on_space=on_space,
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


@contextlib.contextmanager
def lock_home() -> Iterator[None]:
    """Lock the home while this app is open: two would both start the runs of the same queue. Raises AccessError if
    another app has it open.

    The system releases the lock of a process that dies, so nothing has to be cleaned up.
    """
    home = paths.home()
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / "app.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        where = _read_address() or "another window"
        raise AccessError(
            f"ModelForge is already open at {where}.",
            where=str(home),
            fix="Use that window, close it first, or set MODELFORGE_HOME to another folder.",
        ) from error
    try:
        yield
    finally:
        _address_file().unlink(missing_ok=True)
        lock.release()


def write_address(url: str) -> None:
    """Record where this app is open, for the error of the next one."""
    _address_file().write_text(json.dumps({"url": url, "pid": os.getpid()}), encoding="utf-8")


def _read_address() -> str:
    try:
        return str(json.loads(_address_file().read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, TypeError, KeyError):  # not written yet: the other app is starting
        return ""


def _address_file() -> Path:
    return paths.home() / "app.json"
