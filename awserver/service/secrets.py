"""What a host makes from its secret, and from chance: nonces, salts, tokens.

Nobody else computes these, so they are no part of the protocol and their labels
stand here alone.
"""

import base64
import binascii
import hmac
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, NamedTuple

from awserver.documents import SALT_BYTES
from awserver.encoding import lp
from awserver.errors import SessionInvalidError
from awserver.proofs import NONCE_BYTES
from awserver.records import ID_BYTES, AccountId
from awserver.service.times import Clock, Random

SECRET_BYTES: Final = 32
TOKEN_HASH_BYTES: Final = 32
NONCE_SECONDS_MAX: Final = 60
"""A proof is taken for so long after its nonce was given."""

NONCE_AHEAD_SECONDS_MAX: Final = 5
"""A nonce of another process of this host, whose clock is a little ahead."""

INVITE_BYTES: Final = 20

_TIME_BYTES: Final = 4
_RANDOM_BYTES: Final = 12
_MAC_BYTES: Final = NONCE_BYTES - _TIME_BYTES - _RANDOM_BYTES
_TOKEN_CHARS: Final = (ID_BYTES + SECRET_BYTES) * 4 // 3

# Labels of at most 16 bytes, one purpose each.
_LABEL_NONCE: Final = b"host-nonce"
_LABEL_SALT: Final = b"host-salt"
_LABEL_TOKEN: Final = b"host-token"
_LABEL_INVITE: Final = b"host-invite"


@dataclass(frozen=True, slots=True)
class HostSecret:
    """32 random bytes that no client and no other host knows."""

    _bytes: bytes

    def __repr__(self) -> str:
        return "HostSecret(**redacted**)"

    def mac(self, label: bytes, data: bytes, size: int) -> bytes:
        """Return keyed BLAKE2b of the data, for one purpose."""
        return blake2b(data, digest_size=size, key=self._bytes, person=label).digest()


class Nonces:
    """Nonces that the host need not keep: `time u32 BE || random[12] || MAC[16]`.

    Only the ones that were used are stored, for as long as they would be taken.
    """

    def __init__(self, secret: HostSecret, *, clock: Clock, random: Random) -> None:
        """Make nonces under this secret."""
        self._secret = secret
        self._clock = clock
        self._random = random

    def make(self, username: str) -> bytes:
        """Return a nonce for one proof of this name, within a minute."""
        start = self.floor(self._clock.seconds()) + self._random(_RANDOM_BYTES)
        return start + self._mac(start, username)

    def is_good(self, username: str, nonce: bytes) -> bool:
        """Say whether this host made the nonce for this name, not long ago."""
        start, mac = nonce[:-_MAC_BYTES], nonce[-_MAC_BYTES:]
        age = self._clock.seconds() - int.from_bytes(start[:_TIME_BYTES], "big")
        made_here = hmac.compare_digest(mac, self._mac(start, username))
        return made_here and -NONCE_AHEAD_SECONDS_MAX <= age <= NONCE_SECONDS_MAX

    def oldest(self) -> bytes:
        """Return a value below every nonce that is good now, or was just before."""
        return self.floor(max(0, self._clock.seconds() - 2 * NONCE_SECONDS_MAX))

    @staticmethod
    def floor(seconds: int) -> bytes:
        """Return what nonces of this second begin with."""
        return (seconds % 2**32).to_bytes(_TIME_BYTES, "big")

    def _mac(self, start: bytes, username: str) -> bytes:
        return self._secret.mac(_LABEL_NONCE, lp(start, username.encode()), _MAC_BYTES)


def decoy_salt(secret: HostSecret, username: str) -> bytes:
    """Return the salt of a name that nobody has: always the same for one name."""
    return secret.mac(_LABEL_SALT, username.encode(), SALT_BYTES)


class Token(NamedTuple):
    """A token, taken apart: whose it is, and the hash under which it is stored."""

    account_id: AccountId
    token_hash: bytes


def make_token(account: AccountId, random: Random) -> tuple[str, bytes]:
    """Return a new token as it is shown once, and its hash."""
    secret = random(SECRET_BYTES)
    text = base64.urlsafe_b64encode(account + secret).decode("ascii")
    return text, _hash(_LABEL_TOKEN, secret)


def read_token(text: str) -> Token:
    """Read base64url(account_id[16] || secret[32]); raises `SessionInvalidError`."""
    if len(text) != _TOKEN_CHARS:
        raise SessionInvalidError
    try:
        data = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise SessionInvalidError from None
    return Token(AccountId(data[:ID_BYTES]), _hash(_LABEL_TOKEN, data[ID_BYTES:]))


def make_invite(random: Random) -> tuple[str, bytes]:
    """Return a new invitation as it is shown once, and its hash."""
    code = base64.urlsafe_b64encode(random(INVITE_BYTES)).decode("ascii").rstrip("=")
    return code, hash_invite(code)


def hash_invite(code: str) -> bytes:
    """Return the hash under which an invitation is stored."""
    return _hash(_LABEL_INVITE, code.encode())


def _hash(label: bytes, data: bytes) -> bytes:
    return blake2b(data, digest_size=TOKEN_HASH_BYTES, person=label).digest()
