"""Which requests reach the app: the one place where hosts, origins, headers and cookies are judged.

Any website can make a browser send requests to any address, also to 127.0.0.1, and by a name that it points there
after its page was loaded (DNS rebinding). So the app answers to its own names only, changes nothing for the pages of
others, gives them nothing but its first page, and lets nobody frame it.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelforge.compat.gradio import has_told_reader
from modelforge.hosts import Hosts, host_name

# Where a link from elsewhere may lead: the page, where it sends who is not signed in, and the way back from there.
OPEN_PATHS = {"", "/", "/login", "/login/huggingface", "/login/callback"}
EVENTS = "/gradio_api/queue/data"
# All that the page asks for. Gradio has more: tools of its developers, proxies, monitoring, voice.
SERVED = frozenset(
    {
        *("", "/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", "/login", "/logout"),
        *("/login/huggingface", "/login/callback"),
        *(f"/gradio_api/{name}" for name in ("startup-events", "upload", "upload_progress", "cancel", "reset", "info")),
        EVENTS,
        *(f"/gradio_api/{name}" for name in ("queue/join", "app_id", "user", "login_check")),
    }
)
SERVED_BELOW = ("/assets/", "/static/", "/svelte/", "/gradio_api/file=", "/gradio_api/heartbeat/", "/gradio_api/call/")
SPACE_FRAMES = "https://huggingface.co https://*.hf.space"
# Gradio's page has scripts and styles within it and compiles templates; whatever runs can reach this app alone.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {frames}"
)


class RequestChecks:
    """ASGI middleware in front of every route."""

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self.app = app
        self.hosts = hosts
        frames = SPACE_FRAMES if hosts.on_space else "'none'"
        self.added = {
            "Content-Security-Policy": CONTENT_SECURITY_POLICY.format(frames=frames),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",  # the address of a share link is all that one needs to open it
            "Cross-Origin-Resource-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":  # the page uses none
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = self.app
        if refusal := self._judge(scope):
            answer = PlainTextResponse(refusal, status_code=403)
        elif not _is_served(path_of(scope)):
            answer = PlainTextResponse("There is nothing here.", status_code=404)
        try:
            await answer(scope, receive, lambda message: self._send(message, scope, send))
        except (RuntimeError, KeyError) as error:
            if path_of(scope) != EVENTS or not has_told_reader(error):
                raise
            await send({"type": "http.response.body", "body": b""})

    def _judge(self, scope: Scope) -> str | None:
        """Why a request is refused, or None."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self.hosts.accept(host_name(host)):
            return (
                f"This app does not answer to the name {host[:100]!r}. Open the address that it shows when it starts, "
                "or start it with MODELFORGE_ALLOWED_HOSTS set to this name."
            )
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin, host):
            return "This app takes no requests from pages of other addresses."
        site = headers.get("sec-fetch-site", "none")
        if site not in ("none", "same-origin") and not self._opens_the_page(scope, headers):
            return "This app takes no requests from pages of other addresses. Open its own page first."
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        """Of the page that this host serves, or of a public name of it, where a proxy changes the host."""
        place = origin.lower().partition("://")[2]
        return place == host.lower() or place in self.hosts.public

    def _opens_the_page(self, scope: Scope, headers: Headers) -> bool:
        frames = ("document", "iframe") if self.hosts.on_space else ("document",)
        return (
            scope.get("method") == "GET"
            and headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") in frames
            and path_of(scope) in OPEN_PATHS
        )

    async def _send(self, message: Message, scope: Scope, send: Send) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in self.added.items():
                headers[name] = value
            if not self.hosts.on_space:  # in a frame of the Hub's page only SameSite=None is sent
                _restrict_cookies(headers, secure=_is_https(scope))
        await send(message)


def path_of(scope: Scope) -> str:
    """Of a request, below the path under which a proxy shows the app."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


def _is_served(path: str) -> bool:
    return path.rstrip("/") in SERVED or path.startswith(SERVED_BELOW)


def _restrict_cookies(headers: MutableHeaders, *, secure: bool) -> None:
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
