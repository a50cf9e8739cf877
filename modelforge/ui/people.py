"""The people who use an app that several share: who may sign in, who is signed in, and what belongs to whom.

All of it is in memory: closing the app signs everybody out.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from modelforge.caller import Caller
from modelforge.errors import AccessError

SIGNED_IN_SECONDS = 7 * 24 * 3600
FREE_TRIES = 3  # wrong passwords in a row, before each further one costs twice the wait of the one before
LONGEST_WAIT_SECONDS = 60.0
MOST_KEPT = 10_000  # of sign-ins, pages and files; the oldest are forgotten
UNKNOWN = ""  # all names that nobody has share their wrong passwords


@dataclass(frozen=True)
class Login:
    """Who may sign in with a password. caller: as whom."""

    name: str
    password: str = field(repr=False)
    caller: Caller


class Bounded(OrderedDict[str, Any]):
    """A dict that forgets its oldest entries."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        if len(self) > MOST_KEPT:
            self.popitem(last=False)


class People:
    """logins: who may sign in with a password. owner_sub: on a Space, the `sub` of its owner's account."""

    def __init__(self, logins: Sequence[Login] = (), *, owner_sub: str = "") -> None:
        self._logins = {login.name: login for login in logins}
        self._owner_sub = owner_sub
        self._signed_in: dict[str, tuple[float, Caller, dict[str, Any]]] = Bounded()
        self._wrong: dict[str, tuple[int, float]] = {}  # name -> how many in a row, and until when nobody may try
        self._owners: dict[str, set[str]] = Bounded()

    @property
    def can_sign_in(self) -> bool:
        """Whether anybody has a password here."""
        return bool(self._logins)

    def sign_in(self, name: str, password: str) -> str:
        """The key of a new sign-in. Raises AccessError for a wrong name or password, and, without looking at them, too
        soon after others."""
        login = self._logins.get(name)
        whose = login.name if login else UNKNOWN
        count, until = self._wrong.get(whose, (0, 0.0))
        wait = until - time.monotonic()
        if wait > 0:
            raise AccessError(
                "There were too many wrong passwords for this name.", fix=f"Try again in {wait:.0f} seconds."
            )
        expected = login.password if login else secrets.token_hex()
        if not secrets.compare_digest(password.encode(), expected.encode()) or login is None:
            delay = min(2.0 ** (count - FREE_TRIES + 1), LONGEST_WAIT_SECONDS) if count >= FREE_TRIES - 1 else 0.0
            self._wrong[whose] = (count + 1, time.monotonic() + delay)
            raise AccessError("The name or the password is wrong.", fix="Try again.")
        self._wrong.pop(whose, None)
        return self.remember(login.caller)

    def remember(self, caller: Caller, oauth: dict[str, Any] | None = None) -> str:
        """The key under which this person is known from now on. oauth: what the Hub said at the sign-in."""
        key = secrets.token_urlsafe(32)
        self._signed_in[key] = (time.monotonic() + SIGNED_IN_SECONDS, caller, oauth or {})
        return key

    def find(self, key: str) -> Caller | None:
        return self._find(key)[0]

    def find_oauth(self, key: str) -> dict[str, Any]:
        return self._find(key)[1]

    def _find(self, key: str) -> tuple[Caller | None, dict[str, Any]]:
        until, caller, oauth = self._signed_in.get(key, (0.0, None, {}))
        if until < time.monotonic() or oauth.get("expires_at", float("inf")) < time.time():
            self.sign_out(key)
            return None, {}
        return caller, oauth

    def sign_out(self, key: str) -> None:
        """End this one sign-in; others of the same person stay."""
        self._signed_in.pop(key, None)

    def recognise(self, oauth: dict[str, Any]) -> Caller:
        """Who signed in with the Hub. oauth: the answer of its token endpoint, with `userinfo` (OpenID Connect)."""
        user = oauth["userinfo"]
        sub, name = str(user["sub"]), str(user.get("preferred_username") or user["sub"])
        is_owner = bool(self._owner_sub) and secrets.compare_digest(sub.encode(), self._owner_sub.encode())
        id = "" if is_owner else f"hf:{sub}"
        return Caller(id, name, is_owner=is_owner, is_local=False, token=str(oauth.get("access_token", "")))

    def claim(self, thing: str, caller: Caller) -> bool:
        """Whether a page or a file is this person's: it belongs to whoever used its unguessable name first."""
        owners = self._owners.get(thing)
        if owners is None:
            self._owners[thing] = {caller.id}
        return owners is None or caller.is_owner or caller.id in owners

    def share(self, thing: str, caller: Caller) -> None:
        """Somebody else has uploaded the very same file."""
        self._owners.setdefault(thing, set()).add(caller.id)
