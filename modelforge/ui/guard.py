"""Which requests reach the app: the one place where hosts, origins, headers and cookies are judged.

Any website can make a browser send requests to any address, also to 127.0.0.1, and by a name that it points there
after its page was loaded (DNS rebinding). So the app answers to its own names only, changes nothing for the pages of
others, gives them nothing but its first page, and lets nobody frame it.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# Where a link from elsewhere may lead: the page, and the way back from signing in.
ENTRANCES = {"", "/", "/login/huggingface", "/login/callback"}
SPACE_FRAMES = "https://huggingface.co https://*.hf.space"
# Gradio's page has scripts and styles within it and compiles templates; whatever runs can reach this app alone.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {frames}"
)


@dataclass
class Doors:
    """names: the host names that the app answers to beside those of this machine, without ports; any_address: also to
    every IP address, which no website can make its own; on_space: to every name, since a Space is public anyway, and
    in a frame of the Hub's page."""

    names: set[str] = field(default_factory=set)
    any_address: bool = False
    on_space: bool = False

    def know(self, name: str) -> bool:
        return name in LOOPBACK or name in self.names or self.on_space or (self.any_address and _is_address(name))


class Guard:
    """ASGI middleware in front of every route."""

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        self.app = app
        self.doors = doors
        frames = SPACE_FRAMES if doors.on_space else "'none'"
        self.added = {
            "Content-Security-Policy": POLICY.format(frames=frames),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",  # the address of a share link is all that one needs to open it
            "Cross-Origin-Resource-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refusal = self._judge(scope)
        if refusal and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = PlainTextResponse(refusal, status_code=403) if refusal else self.app
        await answer(scope, receive, lambda message: self._send(message, scope, send))

    def _judge(self, scope: Scope) -> str | None:
        """Why a request is refused, or None."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self.doors.know(_name(host)):
            return (
                f"This app does not answer to the name {host[:100]!r}. Open the address that it shows when it starts, "
                "or start it with MODELFORGE_ALLOWED_HOSTS set to this name."
            )
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin, host):
            return "This app takes no requests from pages of other addresses."
        site = headers.get("sec-fetch-site", "none")
        if site not in ("none", "same-origin") and not self._is_entrance(scope, headers):
            return "This app takes no requests from pages of other addresses. Open its own page first."
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        """Of the page that this host serves; or of another name of the app, where a proxy changes the host."""
        place = origin.lower().partition("://")[2]
        return place == host.lower() or place in self.doors.names

    def _is_entrance(self, scope: Scope, headers: Headers) -> bool:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        frames = ("document", "iframe") if self.doors.on_space else ("document",)
        return (
            scope.get("method") == "GET"
            and headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") in frames
            and path in ENTRANCES
        )

    async def _send(self, message: Message, scope: Scope, send: Send) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in self.added.items():
                headers[name] = value
            if not self.doors.on_space:  # in a frame of the Hub's page only SameSite=None is sent
                _bind_cookies(headers, secure=_is_https(scope))
        await send(message)


def _bind_cookies(headers: MutableHeaders, *, secure: bool) -> None:
    """Cookies go to no page of others; over https, only there."""
    cookies = headers.getlist("set-cookie")
    if not cookies:
        return
    del headers["set-cookie"]
    for cookie in cookies:
        parts = [part.strip() for part in cookie.split(";") if "samesite" not in part.lower()]
        if secure and "Secure" not in parts:
            parts.append("Secure")
        headers.append("set-cookie", "; ".join([*parts, "SameSite=Lax"]))


def _is_https(scope: Scope) -> bool:
    return scope.get("scheme") == "https" or Headers(scope=scope).get("x-forwarded-proto", "").startswith("https")


def _name(host: str) -> str:
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
