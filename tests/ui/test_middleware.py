"""Which requests reach the app: its own names, its own pages, and nothing for the pages of others. On a real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping

import gradio as gr
import httpx
import pytest

from modelforge.ui.access import decide_access
from modelforge.ui.app import launch

LOGIN = {"username": "anna", "password": "correct horse"}
OPEN = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.fixture(scope="module", params=["local", "network", "space"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The mode, and the app's address."""
    environment = {
        "local": {},
        "network": {"MODELFORGE_HOST": "0.0.0.0", "MODELFORGE_ALLOWED_HOSTS": "forge.example, other.example"},  # noqa: S104
        "space": {"SPACE_ID": "anna/forge", "SPACE_HOST": "anna-forge.hf.space"},
    }[request.param]
    access = decide_access(environment={**environment, "MODELFORGE_AUTH": ":".join(LOGIN.values())})
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Textbox("private")
    url = launch(page, access)
    yield request.param, f"http://127.0.0.1:{url.rstrip('/').rpartition(':')[2]}"
    page.close(verbose=False)


def ask(served: tuple[str, str], path: str = "/", method: str = "GET", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.request(method, served[1] + path, headers=named, data=LOGIN if method == "POST" else None)


@pytest.mark.parametrize(
    ("host", "modes"),
    [
        ("127.0.0.1", {"local", "network", "space"}),
        ("localhost:7860", {"local", "network", "space"}),
        ("[::1]:7860", {"local", "network", "space"}),
        ("192.168.1.7:7860", {"network", "space"}),
        ("forge.example", {"network", "space"}),
        ("other.example:80", {"network", "space"}),
        ("anna-forge.hf.space", {"space"}),
        ("evil.example", {"space"}),  # a Space is public: a name that points to it gives nothing more
        ("127.0.0.1.evil.example", {"space"}),
        ("localhost.", {"space"}),
    ],
)
def test_app_answers_to_its_own_names_only(served: tuple[str, str], host: str, modes: set[str]) -> None:
    answer = ask(served, host=host)
    assert answer.status_code == (303 if served[0] in modes else 403)  # to the page where people sign in
    if answer.status_code == 403:
        assert "does not answer to the name" in answer.text and "MODELFORGE_ALLOWED_HOSTS" in answer.text


def test_host_that_is_no_name_is_refused(served: tuple[str, str]) -> None:
    for host in ("", "[", "a b", "[::1", "\\"):
        assert ask(served, host=host).status_code in ({303, 400, 403} if served[0] == "space" else {400, 403})


CROSS_SITE = {
    "post of another page": ("POST", "/login", {"origin": "http://evil.example"}),
    "post of a page without an origin": ("POST", "/login", {"origin": "null"}),
    "post of another server of this machine": ("POST", "/login", {"origin": f"http://{socket.gethostname().lower()}"}),
    "post of another port of this machine": ("POST", "/login", {"origin": "http://127.0.0.1:1"}),
    "post of a form": ("POST", "/login", {"sec_fetch_site": "cross-site", **OPEN}),
    "post of a neighbour": ("POST", "/login", {"sec_fetch_site": "same-site"}),
    "upload": ("POST", "/gradio_api/upload", {"origin": "http://evil.example"}),
    "read": ("GET", "/config", {"origin": "http://evil.example"}),
    "picture": ("GET", "/favicon.ico", {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}),
    "link that logs out": ("GET", "/logout", {"sec_fetch_site": "cross-site", **OPEN}),
    "frame of another page": (
        "GET", "/", {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "frame"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CROSS_SITE)
def test_pages_of_others_get_and_change_nothing(served: tuple[str, str], case: str) -> None:
    method, path, headers = CROSS_SITE[case]
    answer = ask(served, path, method, **{name.replace("-", "_"): value for name, value in headers.items()})
    assert answer.status_code == 403
    assert "pages of other addresses" in answer.text
    assert "set-cookie" not in answer.headers


def test_own_pages_links_from_elsewhere_and_programs_get_in(served: tuple[str, str]) -> None:
    own: Mapping[str, str] = {"origin": served[1], "sec_fetch_site": "same-origin"}
    assert ask(served, "/login", "POST", **own).status_code == 303
    assert ask(served, "/login", "POST").status_code == 303
    opened = {name.replace("-", "_"): value for name, value in OPEN.items()}
    assert ask(served, "/?__theme=dark", sec_fetch_site="cross-site", **opened).status_code == 303
    assert ask(served, "/login", sec_fetch_site="cross-site", **opened).status_code == 200  # where that leads
    behind_a_proxy = ask(served, "/login", "POST", origin="https://forge.example").status_code
    assert behind_a_proxy == (303 if served[0] == "network" else 403)


def test_answers_say_what_browsers_may_do_with_them(served: tuple[str, str]) -> None:
    for path in ("/", "/config", "/favicon.ico", "/nowhere"):
        headers = ask(served, path).headers
        assert headers["x-content-type-options"] == "nosniff"
        frames = "https://huggingface.co" if served[0] == "space" else "'none'"
        assert f"frame-ancestors {frames}" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "same-origin"


def test_cookies_stay_on_the_page(served: tuple[str, str]) -> None:
    for more, is_secure in (({}, False), ({"x_forwarded_proto": "https"}, True)):
        cookies = ask(served, "/login", "POST", **more).headers.get_list("set-cookie")
        assert len(cookies) == 1
        if served[0] == "space":  # its page is in a frame of the Hub's, where no other cookie is sent
            assert any("SameSite=none" in cookie for cookie in cookies)
        else:
            assert all(cookie.count("SameSite") == 1 and "SameSite=Lax" in cookie for cookie in cookies)
            assert all("Secure" in cookie for cookie in cookies) is is_secure
        assert all("HttpOnly" in cookie for cookie in cookies)


def test_stream_of_a_page_that_was_closed_says_so_and_ends(served: tuple[str, str]) -> None:
    """Gradio raises an answer 404 after it has begun another one: the stream broke off, with a traceback in the log."""
    signed_in = ask(served, "/login", "POST")
    cookie = "; ".join(f"{name}={value}" for name, value in signed_in.cookies.items())
    answer = ask(served, "/gradio_api/queue/data?session_hash=closed", cookie=cookie)
    assert answer.status_code == 200 and '"session_not_found":true' in answer.text
