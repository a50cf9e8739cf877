"""Who may open the app, and where it listens. Decided only here; safe by default.

Options come from the command line, otherwise from the environment: MODELFORGE_HOST, MODELFORGE_PORT, MODELFORGE_AUTH
(name:password, a line for each person), MODELFORGE_AUTH_FILE (a file of such lines), MODELFORGE_ROOT_PATH,
MODELFORGE_ALLOWED_HOSTS (names, separated by commas); on a Hugging Face Space also from what the Space sets.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from modelforge.caller import Caller
from modelforge.errors import AccessError
from modelforge.hosts import Hosts
from modelforge.ui.people import Login, People

GUEST = "guest"
SET_LOGINS = "Set MODELFORGE_AUTH to name:password, or use --auth NAME, which asks for the password."
LONGEST_FILE_BYTES = 100_000


@dataclass(frozen=True)
class Access:
    """How the app is opened. port None: the first free one. logins: the owner's first. chat_only: others than the owner
    may only chat, with `model`. owner_sub, with_hub: on a Space, its owner's account, and whether people sign in with
    theirs. names: further host names under which it is reached. made_password: of a guest, to be shown once."""

    host: str
    port: int | None
    share: bool
    logins: tuple[tuple[str, str], ...] = field(repr=False)
    root_path: str = ""
    on_space: bool = False
    names: frozenset[str] = frozenset()
    chat_only: bool = False
    model: str = ""
    with_hub: bool = False
    owner_sub: str = ""
    made_password: str = field(default="", repr=False)

    @property
    def mode(self) -> Literal["local", "shared", "Space"]:
        """local: one person, the owner, on this machine. shared, Space: people sign in."""
        if self.on_space:
            return "Space"
        return "shared" if self.share or self.logins or not _is_loopback(self.host) else "local"

    def hosts(self) -> Hosts:
        """The names under which the app answers: those of this machine, and those that it was given."""
        public = {*self.names, urlsplit(self.root_path).hostname or ""} - {""}
        if _is_loopback(self.host):
            return Hosts(public=public, on_space=self.on_space)
        here = socket.gethostname().lower()
        own = frozenset({self.host.lower(), here, f"{here}.local"})
        return Hosts(own, public, any_address=True, on_space=self.on_space)

    def people(self) -> People | None:
        """Who may sign in; None in local mode. The first login is the owner's."""
        if self.mode == "local":
            return None
        owner = Caller(is_local=False)
        other = replace(owner, is_owner=False, may_train=not self.chat_only, model=self.model)
        logins = [
            Login(name, password, replace(other, id=name, name=name) if place else replace(owner, name=name))
            for place, (name, password) in enumerate(self.logins)
        ]
        return People(logins, owner_sub=self.owner_sub)


def decide_access(
    *,
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    auth: str | None = None,
    auth_file: str | None = None,
    allow_training: bool = False,
    model: str = "",
    ask_password: Callable[[str], str] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Access:
    """Combine options and environment. auth: a name, whose password `ask_password` asks for. model: the id of the one
    that a link is for, unless training is allowed. Raises AccessError for a public address or link without a password.
    """
    on_space = bool(environment.get("SPACE_ID"))
    host = host or environment.get("MODELFORGE_HOST") or (environment.get("GRADIO_SERVER_NAME") if on_space else None)
    chosen = host or ("0.0.0.0" if on_space else "127.0.0.1")  # noqa: S104 - a Space's container must be reachable
    logins = _read_logins(auth, auth_file, ask_password, environment)
    if not logins and share:
        raise AccessError("Anyone who has a share link can open it.", where="--share", fix=SET_LOGINS)
    if not logins and not on_space and not _is_loopback(chosen):
        what = f"On {chosen}, everyone in the network could use this app."
        raise AccessError(what, where="--host", fix=f"{SET_LOGINS} Or omit --host to listen on this machine only.")
    chat_only = share and not allow_training
    if chat_only and not model:
        raise AccessError(
            "A share link is for chatting with one model, and there is none yet.",
            where="--share",
            fix="Train one first, or add --allow-training to let the people that you name train through the link.",
        )
    made = secrets.token_urlsafe(9) if share and len(logins) == 1 else ""
    allowed = environment.get("MODELFORGE_ALLOWED_HOSTS", "")
    given = environment.get("MODELFORGE_PORT") or environment.get("GRADIO_SERVER_PORT") or ""
    return Access(
        host=chosen,
        port=_check_port(port) if port is not None else _parse_port(given),
        share=share,
        logins=(*logins, (GUEST, made)) if made else logins,
        root_path=environment.get("MODELFORGE_ROOT_PATH", ""),
        on_space=on_space,
        names=frozenset(name.strip().lower() for name in f"{allowed},{environment.get('SPACE_HOST', '')}".split(",")),
        chat_only=chat_only,
        model=model if chat_only else "",
        with_hub=environment.get("SYSTEM") == "spaces" and bool(environment.get("OAUTH_CLIENT_ID")),
        owner_sub=environment.get("SPACE_CREATOR_USER_ID", ""),
        made_password=made,
    )


def _read_logins(
    auth: str | None,
    auth_file: str | None,
    ask_password: Callable[[str], str] | None,
    environment: Mapping[str, str],
) -> tuple[tuple[str, str], ...]:
    """(name, password) of everybody, the owner first. Raises AccessError."""
    if auth and ":" in auth:
        raise AccessError(
            "A password on the command line can be read by everybody on this machine, in the list of processes.",
            where="--auth",
            fix="Give only the name, then the password is asked for; or set MODELFORGE_AUTH to name:password.",
        )
    if auth:
        password = ask_password(auth) if ask_password else ""
        return _parse_logins(f"{auth}:{password}", "--auth")
    file = auth_file or environment.get("MODELFORGE_AUTH_FILE") or ""
    if not file:
        return _parse_logins(environment.get("MODELFORGE_AUTH") or "", "MODELFORGE_AUTH")
    try:
        with Path(file).expanduser().open(encoding="utf-8") as lines:
            return _parse_logins(lines.read(LONGEST_FILE_BYTES), file)
    except (OSError, ValueError) as error:
        fix = "It is a text file with name:password in each line."
        reason = getattr(error, "strerror", None) or "it is not text"
        raise AccessError(f"The file of logins cannot be read: {reason}.", where=file, fix=fix) from error


def _parse_logins(text: str, where: str) -> tuple[tuple[str, str], ...]:
    logins = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, colon, password = line.strip().partition(":")
        if not (name and colon and password) or name in logins:
            what = f"There are two logins of the name {name!r}." if name in logins else "A login needs both parts."
            raise AccessError(what, where=f"{where}, line {number}", fix="Write name:password, a line for each person.")
        logins[name] = password
    return tuple(logins.items())


def _parse_port(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal():
        raise AccessError(f"{text!r} is not a valid port.", where="port", fix="Use a number from 1 to 65535.")
    return _check_port(int(text))


def _check_port(port: int) -> int:
    if not 0 < port < 65_536:
        raise AccessError(f"{port} is not a valid port.", where="port", fix="Use a number from 1 to 65535.")
    return port


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
