"""What can go wrong with the Hugging Face Hub, each as one HubError with a fix; no message contains the token."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from modelforge.errors import HubError

SIGN_IN = "Create a token with write permission at https://huggingface.co/settings/tokens and use it"
_AGAIN = "Push again in a few minutes; large files that have arrived are not sent twice."


class Failures:
    """Turns what the client raises inside its block into one HubError without the token in its texts."""

    def __init__(self, endpoint: str | None, repo_id: str) -> None:
        self.endpoint = endpoint or ""
        self.repo_id = repo_id
        self.token = ""

    def __enter__(self) -> Failures:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, HubError):
            return
        for each in _chain(error, "__cause__", "__context__"):
            each.args = tuple(self._without_token(part) if isinstance(part, str) else part for part in each.args)
        chain = list(_chain(error, "__cause__"))
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
        what, fix = _REFUSALS.get(status, ("The Hub has a problem", _AGAIN))
        words = f": {self._quote(answer.server_message)}" if answer.server_message else ""
        return HubError(f"{what} (error {status}{words}).", where=self.repo_id or self.endpoint, fix=fix)

    def _explain_network(self, chain: list[BaseException]) -> HubError | None:
        """The first error that is not an answer of a Hub. None for a bug of ours, which is raised unchanged."""
        import httpx2
        from huggingface_hub.errors import DeviceCodeError, OfflineModeIsEnabled, OIDCError

        network = "Check the network connection and push again."
        kinds: list[tuple[type[BaseException] | tuple[type[BaseException], ...], str, str]] = [
            (OfflineModeIsEnabled, "The Hub is switched off", "Unset HF_HUB_OFFLINE and push again."),
            ((OIDCError, DeviceCodeError), "The hub login cannot be used", f"Run `hf auth login`. {SIGN_IN}."),
            (httpx2.TimeoutException, "The Hub does not answer in time", _AGAIN),
            (
                (httpx2.InvalidURL, httpx2.UnsupportedProtocol),
                "This address is not of a Hub",
                "Correct HF_ENDPOINT.",
            ),
            ((httpx2.ConnectError, httpx2.ProxyError), "The Hub cannot be reached", network),
            (httpx2.TransportError, "The connection to the Hub was interrupted", _AGAIN),
            ((httpx2.HTTPError, *_ODD_ANSWER), "The server there is not a Hub", "Check HF_ENDPOINT."),
            (OSError, "A file cannot be read", "Check that no other program uses the model's files, and push again."),
        ]
        for each in chain:
            for kind, what, fix in kinds:
                if isinstance(each, kind) and not (isinstance(each, _ODD_ANSWER) and _is_raised_by_us(each)):
                    why = f" ({self._quote(each)})" if str(each) else ""
                    return HubError(f"{what}{why}.", where=self.endpoint or self.repo_id, fix=fix)
        return None


_ODD_ANSWER = (ValueError, KeyError, TypeError, AttributeError)  # what the client raises for another server's JSON
_REFUSALS = {  # HTTP status -> what it means here, and what to do
    400: ("The Hub rejects this", "Change the repository's name or the card."),
    401: ("The Hub does not accept this token", f"{SIGN_IN}."),
    402: ("The Hub requires a paid plan for this", "Free some space there, or push to a public repository."),
    403: ("This token does not have permission for that", f"{SIGN_IN}, or push to your own account."),
    404: ("There is no such account or repository", "Correct its name, or use a token that can see it."),
    409: ("The Hub is busy with this repository", _AGAIN),
    412: ("The repository was changed at the same time", _AGAIN),
    413: ("This is too large for the Hub", "Push a smaller model."),
    429: ("The Hub received too many requests", _AGAIN),
}


def _is_raised_by_us(error: BaseException) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__")).startswith("modelforge.")


def _chain(error: BaseException, *links: str) -> Iterator[BaseException]:
    """The error and its causes, by these links of an exception."""
    found = [error]
    for each in found:
        yield each
        found += [before for link in links if (before := getattr(each, link)) is not None and before not in found]
