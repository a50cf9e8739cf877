"""What can go wrong with the Hugging Face Hub, each as one HubError with a fix; no message contains the token."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

from modelforge.errors import HubError

SIGN_IN = "Create a token with write permission at https://huggingface.co/settings/tokens and use it"
_KEPT = {"Push": "large files that have arrived are not sent twice", "Download": "what has arrived is kept"}


class Failures:
    """Turns what the client raises inside its block into one HubError without the token in its texts. A CancelledError
    is raised as it is, however the client has wrapped it. doing: "Push" or "Download"."""

    def __init__(self, endpoint: str | None, repo_id: str, doing: str = "Push") -> None:
        self.endpoint = endpoint or ""
        self.repo_id = repo_id
        self.token = ""
        self.doing = doing

    def __enter__(self) -> Failures:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, HubError):
            return
        for each in _chain(error, "__cause__", "__context__"):
            each.args = tuple(self._without_token(part) if isinstance(part, str) else part for part in each.args)
        chain = list(_chain(error, "__cause__"))
        if cancelled := next(
            (each for each in _chain(error, "__cause__", "__context__") if isinstance(each, CancelledError)), None
        ):
            raise cancelled from None
        explained = self._explain_answer(chain) or self._explain_network(chain)
        if explained is not None:
            raise explained from error

    def _without_token(self, text: str) -> str:
        return text.replace(self.token, "***") if self.token else text

    def _quote(self, text: object) -> str:
        """Text of the client or the server, shortened and on one line."""
        return " ".join(self._without_token(str(text)).split())[:300]

    def _explain_answer(self, chain: list[BaseException]) -> HubError | None:
        """The first error response of the Hub."""
        from huggingface_hub.errors import HfHubHTTPError

        answer = next((each for each in chain if isinstance(each, HfHubHTTPError)), None)
        if answer is None:
            return None
        status = answer.response.status_code
        what, fix = _REFUSALS.get(
            status, ("The Hub itself has a problem" if status >= 500 else "The Hub refuses this", "")
        )
        if self.doing == "Download" and status in _REFUSED_DOWNLOADS:
            what, fix = _REFUSED_DOWNLOADS[status]
        words = f": {self._quote(answer.server_message)}" if answer.server_message else ""
        again = self._again(read_wait(answer.response.headers))
        return HubError(f"{what} (error {status}{words}).", where=self.repo_id or self.endpoint, fix=fix or again)

    def _again(self, seconds: int = 0) -> str:
        when = f"in {describe_wait(seconds)}" if seconds else "in a few minutes"
        return f"{self.doing} again {when}; {_KEPT[self.doing]}."

    def _explain_network(self, chain: list[BaseException]) -> HubError | None:
        """The first error that is not an answer of a Hub. None for a bug of ours, which is raised unchanged."""
        import httpx2
        from huggingface_hub.errors import DeviceCodeError, OfflineModeIsEnabled, OIDCError

        again, doing = self._again(), self.doing.lower()
        network = f"Check the network connection and {doing} again."
        kinds: list[tuple[type[BaseException] | tuple[type[BaseException], ...], str, str]] = [
            (OfflineModeIsEnabled, "The Hub is switched off", f"Unset HF_HUB_OFFLINE and {doing} again."),
            ((OIDCError, DeviceCodeError), "The hub login cannot be used", f"Run `hf auth login`. {SIGN_IN}."),
            (httpx2.TimeoutException, "The Hub does not answer in time", again),
            (
                (httpx2.InvalidURL, httpx2.UnsupportedProtocol),
                "This address is not of a Hub",
                "Correct HF_ENDPOINT.",
            ),
            ((httpx2.ConnectError, httpx2.ProxyError), "The Hub cannot be reached", network),
            (httpx2.TransportError, "The connection to the Hub was interrupted", again),
            ((httpx2.HTTPError, *_ODD_ANSWER), "The server there is not a Hub", "Check HF_ENDPOINT."),
            (OSError, "A file cannot be used", f"Check that no other program uses the files, and {doing} again."),
        ]
        for each in chain:
            for kind, what, fix in kinds:
                if isinstance(each, kind) and not (isinstance(each, _ODD_ANSWER) and _is_raised_by_us(each)):
                    why = f" ({self._quote(each)})" if str(each) else ""
                    return HubError(f"{what}{why}.", where=self.endpoint or self.repo_id, fix=fix)
        return None


_ODD_ANSWER = (ValueError, KeyError, TypeError, AttributeError)  # what the client raises for another server's JSON
# HTTP status -> what it means here, and what to do; "" is to try again later.
_REFUSALS = {
    400: ("The Hub rejects this", "Change the repository's name or the card."),
    401: ("The Hub does not accept this token", f"{SIGN_IN}."),
    402: ("The Hub requires a paid plan for this", "Free some space there, or push to a public repository."),
    403: ("This token does not have permission for that", f"{SIGN_IN}, or push to your own account."),
    404: ("There is no such account or repository", "Correct its name, or use a token that can see it."),
    408: ("The Hub waited too long for this request", ""),
    409: ("The Hub is busy with this repository", ""),
    412: (
        "Somebody changed the repository while you were pushing, so nothing was added to it",
        "Look at what changed there, and push again.",
    ),
    413: ("This is too large for the Hub", "Push a smaller model."),
    429: ("The Hub received too many requests from you", ""),
    504: ("The Hub did not finish in time", ""),
}
_REFUSED_DOWNLOADS = {
    401: ("It does not exist, or you may not see it", "Check the spelling. If it is private or gated, sign in first."),
    403: ("You do not have access to it", "Request access on its page on the Hub, and sign in."),
    404: ("There is nothing of that name on the Hub", "Check the spelling. If it is private, sign in first."),
}


def read_wait(headers: Any) -> int:
    """How many seconds an answer asks to wait, by Retry-After or the rate limit; 0 if it does not."""
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    given = str(headers.get("retry-after", ""))
    limit = parse_ratelimit_headers(headers)
    return int(given) if given.isdecimal() else limit.reset_in_seconds if limit and not limit.remaining else 0


def describe_wait(seconds: int) -> str:
    """90 -> "2 minutes": never too early."""
    minutes = -(-seconds // 60)
    return f"{seconds} seconds" if seconds <= 60 else f"{minutes} minutes"


def _is_raised_by_us(error: BaseException) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__")).startswith("modelforge.")


def _chain(error: BaseException, *links: str) -> Iterator[BaseException]:
    """The error and its causes, by these links of an exception."""
    found = [error]
    for each in found:
        yield each
        found += [before for link in links if (before := getattr(each, link)) is not None and before not in found]
