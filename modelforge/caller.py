"""Who is asking: the person for whom code runs, carried in a context variable.

`store/table.py` shows and changes only what this person may see and change; what finds datasets and base models asks it
what may be named, the clients of the Hub which token to use, `quotas.py` how much may be used. The page sets it for
each handler (`ui/look/events.py`), the worker for each run. Everything else (the command line, Python) is the owner at
the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from modelforge.errors import AccessError


@dataclass(frozen=True)
class Caller:
    """id: never changes, and is what records keep as `owner`: a login's name, on a Space the `sub` of the sign-in; ""
    for the owner. is_owner: sees everything. is_local: at this machine, where files and its Hub login may be used.
    may_train: False for those who may only chat with `model` (an id). token: the person's own for the Hub, or ""."""

    id: str = ""
    name: str = "owner"
    is_owner: bool = True
    is_local: bool = True
    may_train: bool = True
    model: str = ""
    token: str = field(default="", repr=False)

    def sees(self, record_id: str, owner: str) -> bool:
        """Whether a record of this id and owner exists for this person."""
        if self.is_owner:
            return True
        return record_id == self.model if not self.may_train else owner == self.id

    @property
    def hub_token(self) -> str | bool | None:
        """What the clients of the Hub take as `token`: None is this machine's login, False none."""
        return None if self.is_local else self.token or False


OWNER = Caller()
"""The owner at the machine, and the app itself."""
STRANGER = Caller(id="?", name="nobody", is_owner=False, is_local=False, may_train=False)
"""Sees nothing and may do nothing."""

_caller: ContextVar[Caller] = ContextVar("caller")
_otherwise = OWNER


def current_caller() -> Caller:
    return _caller.get(_otherwise)


@contextmanager
def acting_as(caller: Caller) -> Iterator[None]:
    """Run code for a person. Threads that it starts do not inherit it: they use `acting_as` too."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


def refuse_unknown_callers() -> None:
    """From now on, code that says for nobody whom it runs is a stranger's: for an app that several people use."""
    global _otherwise  # noqa: PLW0603 - of the process, like the app
    _otherwise = STRANGER


def check_may_train(what: str) -> None:
    """Raises AccessError for who may only chat."""
    if not current_caller().may_train:
        raise AccessError(f"This link is for chatting: {what} is not possible here.", fix="Ask its owner.")
