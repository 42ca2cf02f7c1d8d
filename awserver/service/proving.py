"""Whether somebody holds a key: proofs, and one answer for all that is wrong.

The work is the same whatever is wrong, and for a name that nobody has: a document
is looked up, or a decoy taken; the nonce is checked; a signature is verified, under
the key that is due or one that nobody has. Only then is a proof refused.

A document takes its time to read where it is not in memory, the longer the more
clients it names. So what could tell a name by its time is answered at an even one.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from awserver.documents import NO_KEY
from awserver.errors import (
    ProofRefusedError,
    SessionInvalidError,
    SignatureInvalidError,
)
from awserver.proofs import Action, Transcript
from awserver.records import AccountId, ClientId
from awserver.service.known import KnownDocument, KnownDocuments
from awserver.service.secrets import HostSecret, Nonces, decoy_salt
from awserver.storage.base import AccountStore, FoundAccount
from awserver.wire import Proven

DECOY_KEY: Final = bytes.fromhex(
    "5866666666666666666666666666666666666666666666666666666666666666"
)
"""A point of the curve: it costs what any key costs. Who proves it proves nothing."""

NO_ORIGIN: Final = ""

EVEN_SECONDS: Final = 0.02
"""A salt, or a refusal, comes so long after it was asked for: no sooner for a name
that nobody has. A first look at an account takes a fraction of it."""


def due_time() -> float:
    """Return when an answer is due that must not tell by its time."""
    return asyncio.get_running_loop().time() + EVEN_SECONDS


async def wait_until(due: float) -> None:
    """Return at that time of the event loop, or at once where it has passed."""
    await asyncio.sleep(max(due - asyncio.get_running_loop().time(), 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a proof is about, so far as the host knows of a name."""

    username: str
    salt: bytes
    """Of the newest document; of a decoy, where there is none."""
    found: FoundAccount | None
    newest: KnownDocument | None

    def key(self, by: str, client: ClientId) -> bytes | None:
        """Return the public key that a proof is due by; None: there is none."""
        if self.newest is None:
            return None
        document = self.newest.signed.document
        if by == "login":
            return document.login_public
        if by == "recovery":
            key = document.recovery_login_public
            return None if key == NO_KEY else key
        entry = self.newest.active_client(client)
        return None if entry is None else entry.public


class Prover:
    """Checks proofs against what the host knows itself."""

    def __init__(
        self,
        *,
        accounts: AccountStore,
        known: KnownDocuments,
        secret: HostSecret,
        nonces: Nonces,
        origins: Sequence[str],
    ) -> None:
        """Take proofs for these origins, and no other."""
        self._accounts = accounts
        self._known = known
        self._secret = secret
        self._nonces = nonces
        self._origins = origins

    async def subject(self, username: str) -> Subject:
        """Look up a name; one that nobody has gives a subject without a key."""
        found = await self._accounts.find(username)
        salt = decoy_salt(self._secret, username)
        newest = None
        # Deleted in between: a name that nobody has.
        with contextlib.suppress(SessionInvalidError):
            newest = await (
                self._known.nobody()
                if found is None
                else self._known.at(found.account_id, found.version)
            )
        if newest is not None:
            salt = newest.signed.document.salt
        return Subject(username=username, salt=salt, found=found, newest=newest)

    async def subject_of(self, account: AccountId, version: int) -> Subject:
        """Look up an account by a version of its document that the store has."""
        newest = await self._known.at(account, version)
        document = newest.signed.document
        return Subject(
            username=document.username, salt=document.salt, found=None, newest=newest
        )

    def nonce(self, username: str) -> bytes:
        """Return a nonce for one proof of this name."""
        return self._nonces.make(username)

    def check(
        self,
        proven: Proven,
        subject: Subject,
        *,
        action: Action,
        by: str,
        signature: bytes,
        body: bytes = b"",
    ) -> None:
        """Check the one signature of a request; raises `ProofRefusedError`."""
        client = ClientId(bytes.fromhex(proven.client_id))
        self.check_all(
            proven,
            username=subject.username,
            salt=subject.salt,
            action=action,
            body=body,
            signatures=[(subject.key(by, client), signature)],
        )

    def check_all(
        self,
        proven: Proven,
        *,
        username: str,
        salt: bytes,
        action: Action,
        body: bytes,
        signatures: Sequence[tuple[bytes | None, bytes]],
    ) -> None:
        """Check that each key signed this transcript; raises `ProofRefusedError`.

        Whether the nonce was used before is decided by the transaction that the
        proof allows.
        """
        transcript = Transcript(
            origin=NO_ORIGIN,
            action=action,
            username=username,
            nonce=proven.nonce,
            client_nonce=proven.client_nonce,
            client_id=ClientId(bytes.fromhex(proven.client_id)),
            salt=salt,
            body=body,
        )
        is_signed = self._is_signed(transcript, signatures)
        is_fresh = self._nonces.is_good(username, proven.nonce)
        has_keys = all(key is not None for key, _ in signatures)
        if not (is_signed and is_fresh and has_keys):
            raise ProofRefusedError

    def _is_signed(
        self, transcript: Transcript, signatures: Sequence[tuple[bytes | None, bytes]]
    ) -> bool:
        """Try the origins of this host: a person may have typed any of them."""
        for origin in self._origins:
            named = replace(transcript, origin=origin)
            try:
                for key, signature in signatures:
                    named.verify(DECOY_KEY if key is None else key, signature)
            except SignatureInvalidError:
                continue
            return True
        return False
