"""A small OpenID Connect provider on loopback, as the Hub's is for a Space: authorization code, signed id token, and
its keys. Whoever opens its page is signed in at once as `user`."""

from __future__ import annotations

import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

CLIENT_ID, CLIENT_SECRET = "client-of-the-space", "secret-of-the-space"


@dataclass
class OAuthServer:
    """user: sub, name and Hub token of whoever signs in next."""

    user: tuple[str, str, str] = ("", "", "")
    url: str = ""
    codes: dict[str, tuple[tuple[str, str, str], str]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        from joserfc.jwk import RSAKey

        self.key = RSAKey.generate_key(2048, {"kid": "k", "use": "sig", "alg": "RS256"})
        handler = type("Handler", (_Handler,), {"provider": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def describe(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/oauth/authorize",
            "token_endpoint": f"{self.url}/oauth/token",
            "jwks_uri": f"{self.url}/jwks",
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def authorise(self, asked: dict[str, str]) -> str:
        """The address that the browser is sent back to."""
        assert asked["client_id"] == CLIENT_ID
        code = secrets.token_hex(8)
        self.codes[code] = self.user, asked.get("nonce", "")
        joint = "&" if "?" in asked["redirect_uri"] else "?"
        return asked["redirect_uri"] + joint + urlencode({"code": code, "state": asked["state"]})

    def give_token(self, asked: dict[str, str]) -> dict[str, Any]:
        from joserfc import jwt

        (sub, name, token), nonce = self.codes.pop(asked["code"])
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "sub": sub, "iat": now, "exp": now + 3600, "nonce": nonce}
        claims |= {"preferred_username": name, "name": name, "profile": "", "picture": ""}
        signed = jwt.encode({"alg": "RS256", "kid": "k"}, claims, self.key)
        return {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": 3600,
            "id_token": signed,
            "scope": "openid profile contribute-repos",
        }


class _Handler(BaseHTTPRequestHandler):
    provider: OAuthServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/oauth/authorize":
            place = self.provider.authorise({name: values[0] for name, values in parse_qs(parts.query).items()})
            self.send_response(302)
            self.send_header("Location", place)
            self.end_headers()
        elif parts.path == "/jwks":
            self._send({"keys": [self.provider.key.as_dict(private=False)]})
        else:
            self._send(self.provider.describe())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._send(self.provider.give_token({name: values[0] for name, values in parse_qs(body).items()}))

    def _send(self, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
