"""Anonymous visitors: one signed cookie for all flags. Only one that we signed is believed."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from typing import Final

from itsdangerous import BadSignature, Signer

from flaggate.errors import SettingError

__all__ = ["COOKIE", "Visitors"]

COOKIE: Final = "flaggate_visitor"
_LONGEST: Final = 200
_MAX_AGE_SECONDS: Final = 400 * 86_400  # the longest that browsers keep (RFC 6265bis 5.5)


class Visitors:
    """Reads and writes the visitor's cookie.

    Args:
        secret_keys: The first one signs; the others, older ones, are still believed.

    Raises:
        SettingError: for keys that are no list of texts, or empty.
    """

    def __init__(self, secret_keys: Iterable[str | bytes]) -> None:
        if isinstance(secret_keys, (str, bytes)) or not isinstance(secret_keys, Iterable):
            raise SettingError("secret_keys", "(not shown)", "a list of keys, the one that signs first")
        keys = list(secret_keys)
        if not keys or not all(isinstance(key, (str, bytes)) and key for key in keys):
            raise SettingError("secret_keys", "(not shown)", "keys that are not empty, the one that signs first")
        # itsdangerous takes the newest last.
        oldest_first = [key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key for key in reversed(keys)]
        self._signer = Signer(
            oldest_first, salt=b"flaggate.visitor", key_derivation="hmac", digest_method=hashlib.sha256
        )

    def known(self, cookie_headers: Iterable[str]) -> str | None:
        """The visitor's key, if there is a cookie that we signed."""
        for header in cookie_headers:
            # By commas too: so servers join two lines of Cookie into one; no value of ours has one.
            for pair in header.replace(",", ";").split(";"):
                name, _, value = pair.strip().partition("=")
                if name == COOKIE and len(value) <= _LONGEST:
                    try:
                        return self._signer.unsign(value).decode("ascii")
                    except (BadSignature, UnicodeError):
                        continue  # somebody else's, forged, or of a key that is gone
        return None

    def draw(self) -> str:
        """A key for a new visitor: 128 random bits."""
        return secrets.token_urlsafe(16)

    def cookie(self, key: str, *, is_https: bool) -> str:
        """The value of Set-Cookie."""
        secure = "; Secure" if is_https else ""
        signed = self._signer.sign(key).decode("ascii")
        return f"{COOKIE}={signed}; Path=/; Max-Age={_MAX_AGE_SECONDS}; HttpOnly; SameSite=Lax{secure}"
