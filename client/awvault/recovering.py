"""Using the recovery key: an account at a host gets a new passphrase and new words.

Who has the words proves it to the host, opens the account with them, and replaces
both secrets, so that the words which were typed are worth nothing afterwards. The
host can do nothing of this by itself.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from awserver.records import ID_BYTES, AccountId, ClientId
from awvault.accounts import (
    BLOB_TRIES_MAX,
    EDIT_TRIES_MAX,
    Connect,
    Step,
    connect,
)
from awvault.crypto.hedge import draw
from awvault.crypto.keys import (
    Passphrase,
    Random,
    RecoveryKey,
    derive_recovery_login_key,
)
from awvault.crypto.passphrase import STANDARD, Profile
from awvault.errors import (
    DocumentError,
    EditConflictError,
    EditRefusedError,
    HostRefusedError,
    LoginRefusedError,
    NoAnswerError,
    TransportError,
)
from awvault.login import fetch_account
from awvault.protocol.account import OpenedAccount, open_keys
from awvault.protocol.edits import (
    Edit,
    ResetSecrets,
    check_host_username,
    new_recovery_key,
)
from awvault.strength import require_strong
from awvault.sync.channel import host_origin
from awvault.sync.transport import HostClient, Prover

_SECRET: Final = "recovery key"  # noqa: S105 - its name


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who has forgotten a passphrase, and has the words."""

    url: str
    insecure: bool
    username: str
    recovery: RecoveryKey


class Recovery:
    """One use of a recovery key."""

    def __init__(
        self,
        owner: Owner,
        *,
        profile: Profile = STANDARD,
        random: Random = secrets.token_bytes,
        step: Step = lambda _: None,
        connect: Connect = connect,
    ) -> None:
        """Begin for `owner`; nothing is sent yet.

        Raises `InvalidInputError` for an address or a username that is none.
        """
        check_host_username(owner.username)
        self._owner = owner
        self._origin = host_origin(owner.url, insecure=owner.insecure)
        self._key = derive_recovery_login_key(owner.recovery)
        self._profile = profile
        self._random = random
        self._step = step
        self._connect = connect
        # Whoever recovers an account need not be one of its clients.
        self._client_id = ClientId(draw(random, ID_BYTES))

    async def prepare(self) -> RecoveryKey:
        """Open the account, and make the recovery key that takes this one's place.

        Nothing is changed. Raises `LoginRefusedError` if username or words are
        others, `WrongRecoveryKeyError` if the host takes them and the account does
        not, `HostRefusedError`, `TransportError`, or an `IntegrityError`.
        """
        async with self._session() as (host, account_id):
            opened, _ = await self._open(host, account_id, [])
            return new_recovery_key(opened, self._random)

    async def reset(self, passphrase: Passphrase, recovery: RecoveryKey) -> None:
        """Let another passphrase and another recovery key open the account.

        Raises as `prepare`, `WeakPassphraseError`, and `NoAnswerError` where nobody
        can tell whether the host took it: then either pair opens the account.
        """
        owner = self._owner
        await asyncio.to_thread(
            require_strong, passphrase, known=[owner.username, self._origin]
        )
        intent = ResetSecrets(passphrase=passphrase, recovery=recovery)
        documents: list[bytes] = []
        async with self._session() as (host, account_id):
            for _ in range(EDIT_TRIES_MAX):
                opened, documents = await self._open(host, account_id, documents)
                edit = await asyncio.to_thread(
                    intent.run,
                    opened,
                    heads={},
                    profile=self._profile,
                    random=self._random,
                )
                if await self._put(host, opened, edit):
                    self._step("recovery-answered")
                    return
        raise EditConflictError(tries=EDIT_TRIES_MAX)

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[tuple[HostClient, AccountId]]:
        owner = self._owner
        async with self._connect(owner.url, owner.insecure) as host:
            answer = await host.prelogin(owner.username)
            prover = self._prover(answer.salt, answer.nonce)
            try:
                session = await host.open_session(prover, key=self._key)
            except HostRefusedError as error:
                if error.code != "proof-refused":
                    raise
                raise LoginRefusedError(owner.username, self._origin, _SECRET) from None
            try:
                yield host, session.account_id
            finally:
                with contextlib.suppress(HostRefusedError, TransportError):
                    await host.end_session()

    async def _open(
        self, host: HostClient, account_id: AccountId, documents: list[bytes]
    ) -> tuple[OpenedAccount, list[bytes]]:
        for tries_left in reversed(range(BLOB_TRIES_MAX)):
            account, documents = await fetch_account(
                host, account_id, username=self._owner.username, known=documents
            )
            keys_blob = await host.keys_blob()
            try:
                opened = open_keys(
                    self._owner.recovery, account, keys_blob, profile=self._profile
                )
            except DocumentError:
                # Another edit may have come between documents and blob.
                if not tries_left:
                    raise
            else:
                return opened, documents
        raise AssertionError("the last try returns or raises")

    async def _put(self, host: HostClient, opened: OpenedAccount, edit: Edit) -> bool:
        """Send an edit; return False if another client was faster."""
        nonce = (await host.prelogin(self._owner.username)).nonce
        prover = self._prover(opened.account.document.salt, nonce)
        try:
            await host.put_document(
                prover,
                document=edit.document,
                keys_blob=edit.keys_blob,
                key=self._key,
            )
        except (HostRefusedError, TransportError) as error:
            stands = await self._stands_at(host, opened, error)
            if stands is None:
                if isinstance(error, HostRefusedError):
                    raise EditRefusedError(error) from error
                raise
            return stands == edit.document
        return True

    async def _stands_at(
        self,
        host: HostClient,
        opened: OpenedAccount,
        error: HostRefusedError | TransportError,
    ) -> bytes | None:
        """Return what a host has after a version; None: nothing.

        It did not answer, or it refused: it may have kept the edit all the same.
        """
        try:
            later = await host.documents(after=opened.account.document.version)
        except (HostRefusedError, TransportError):
            if isinstance(error, HostRefusedError):
                raise EditRefusedError(error) from error
            raise NoAnswerError(
                f"{self._origin} did not answer: whether it took the new passphrase is"
                " not known yet",
                hint="log in with it when the host can be reached; if that is refused,"
                " use the recovery words again. Until then keep both, the words that"
                " you typed and the new ones",
            ) from error
        return later[0] if later else None

    def _prover(self, salt: bytes, nonce: bytes) -> Prover:
        return Prover(
            username=self._owner.username,
            client_id=self._client_id,
            salt=salt,
            nonce=nonce,
        )
