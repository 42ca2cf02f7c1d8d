"""Adding this machine to an account that a host keeps.

The person gives an address, a username and the passphrase. Everything else comes
from the host, and is believed only as far as the passphrase proves it: the slot
opens with it, the master key in the slot is the one that signs the documents, and
their chain begins with the account id. Nothing is made for a host that has no such
account: no key of an account, no registration. The one key that is made is this
client's, and the edit that names it is signed by the account.

The client's key is on disk, sealed, before that edit is sent. So a login that was
cut goes on with the same client, and leaves none behind that nobody has.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from awserver.records import ID_BYTES, AccountId, ClientId
from awvault.accounts import (
    BLOB_TRIES_MAX,
    EDIT_TRIES_MAX,
    Connect,
    Step,
    connect,
    later_documents,
)
from awvault.crypto.hedge import draw
from awvault.crypto.keys import (
    ClientKey,
    Passphrase,
    PassphraseKey,
    Random,
    derive_login_key,
)
from awvault.crypto.passphrase import STANDARD, Profile, derive_passphrase_key
from awvault.crypto.slots import Ring
from awvault.errors import (
    DocumentError,
    EditConflictError,
    Error,
    HostBusyError,
    HostRefusedError,
    IntegrityError,
    LoginRefusedError,
    NoAnswerError,
    TransportError,
    WrongPassphraseError,
    WrongPlaceError,
)
from awvault.pending import (
    PendingLogin,
    forget_pending,
    read_pending,
    write_pending,
)
from awvault.protocol.account import (
    OpenedAccount,
    VerifiedAccount,
    open_keys,
    open_keystore,
    verify_documents,
)
from awvault.protocol.edits import (
    AddClient,
    check_host_username,
    login_key_of,
    new_client_key,
    new_keystore,
)
from awvault.sync.channel import host_origin
from awvault.sync.transport import HostClient, Prover


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who wants to be a client of what."""

    url: str
    insecure: bool
    username: str
    passphrase: Passphrase
    label: str
    """What a person calls this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A client that an account names, and all that its vault begins with."""

    account: VerifiedAccount
    documents: list[bytes]
    keys_blob: bytes
    client_id: ClientId
    keystore: bytes
    """Sealed."""
    ring: Ring


class Entrance:
    """Lets this machine into an account, once."""

    def __init__(
        self,
        login: Login,
        pending_file: Path,
        *,
        profile: Profile = STANDARD,
        random: Random = secrets.token_bytes,
        step: Step = lambda _: None,
        connect: Connect = connect,
    ) -> None:
        """Keep the client that is about to be added in `pending_file`.

        Raises `InvalidInputError` for an address or a username that is none.
        """
        check_host_username(login.username)
        self._login = login
        self._origin = host_origin(login.url, insecure=login.insecure)
        self._file = pending_file
        self._profile = profile
        self._random = random
        self._step = step
        self._connect = connect

    async def enter(self) -> Admission:
        """Prove the passphrase, verify the account, and add this client to it.

        Raises `LoginRefusedError` if username or passphrase is another one,
        `HostRefusedError` and `TransportError` as the host has it, and an
        `IntegrityError` where what it serves is not what an owner signed.
        """
        login = self._login
        async with self._connect(login.url, login.insecure) as host:
            salt = (await host.prelogin(login.username)).salt
            owner = await self._derive(salt)
            pending = await asyncio.to_thread(self._read_pending)
            # The key of the new client is made once the account is open; until then
            # the session is under a name that nobody has.
            client_id = (
                ClientId(draw(self._random, ID_BYTES))
                if pending is None
                else pending.client
            )
            account_id = await self._begin(host, salt, owner, client_id)
            try:
                return await self._add(host, account_id, owner, pending)
            finally:
                with contextlib.suppress(TransportError, HostRefusedError):
                    await host.end_session()

    def forget(self) -> None:
        """Forget the client that was about to be added: its vault is there."""
        forget_pending(self._file)

    # -- proving -------------------------------------------------------------

    async def _begin(
        self, host: HostClient, salt: bytes, owner: PassphraseKey, client_id: ClientId
    ) -> AccountId:
        """Begin a session. The nonce is fetched now: Argon2 has taken its time."""
        username = self._login.username
        nonce = (await host.prelogin(username)).nonce
        prover = Prover(username=username, client_id=client_id, salt=salt, nonce=nonce)
        try:
            session = await host.open_session(prover, key=derive_login_key(owner))
        except HostRefusedError as error:
            if error.code != "proof-refused":
                raise
            raise LoginRefusedError(username, self._origin, "passphrase") from None
        return session.account_id

    async def _derive(self, salt: bytes) -> PassphraseKey:
        return await asyncio.to_thread(
            derive_passphrase_key,
            self._login.passphrase,
            username=self._login.username,
            salt=salt,
            profile=self._profile,
        )

    # -- the account ---------------------------------------------------------

    async def _add(
        self,
        host: HostClient,
        account_id: AccountId,
        owner: PassphraseKey,
        pending: PendingLogin | None,
    ) -> Admission:
        """Add the client, or find that an earlier login has; see `enter`."""
        documents: list[bytes] = []
        client: ClientKey | None = None
        unanswered: TransportError | None = None
        version = 0
        for _ in range(EDIT_TRIES_MAX):
            with self._saying_what_is_unknown(is_sent=version > 0):
                opened, documents, keys_blob = await self._open(
                    host, account_id, owner, documents
                )
            account = opened.account
            if client is None:
                client = await self._earlier_unused(
                    host, pending, opened
                ) or new_client_key(opened, self._random)
            if account.document.client(client.client_id) is not None:
                return Admission(
                    account=account,
                    documents=documents,
                    keys_blob=keys_blob,
                    client_id=client.client_id,
                    keystore=new_keystore(opened, account, client, self._random),
                    ring=opened.ring,
                )
            if unanswered is not None and account.document.version < version:
                # It was not taken, and will not be: its nonce was for a minute.
                raise unanswered
            version = account.document.version + 1
            unanswered = await self._put(host, opened, client)
        raise EditConflictError(tries=EDIT_TRIES_MAX)

    async def _open(
        self,
        host: HostClient,
        account_id: AccountId,
        owner: PassphraseKey,
        documents: list[bytes],
    ) -> tuple[OpenedAccount, list[bytes], bytes]:
        """Fetch and verify the account from its first version, and open it."""
        for tries_left in reversed(range(BLOB_TRIES_MAX)):
            account, documents = await fetch_account(
                host, account_id, username=self._login.username, known=documents
            )
            keys_blob = await host.keys_blob()
            try:
                opened = await self._unlock(account, keys_blob, owner)
            except DocumentError:
                # Another edit may have come between documents and blob.
                if not tries_left:
                    raise
            else:
                return opened, documents, keys_blob
        raise AssertionError("the last try returns or raises")

    async def _unlock(
        self, account: VerifiedAccount, keys_blob: bytes, owner: PassphraseKey
    ) -> OpenedAccount:
        """Open the account; its own salt counts, whatever the login was made with."""
        document = account.document
        if derive_login_key(owner).public != document.login_public:
            owner = await self._derive(document.salt)
        try:
            return await asyncio.to_thread(
                open_keys, owner, account, keys_blob, profile=self._profile
            )
        except WrongPassphraseError:
            raise LoginRefusedError(
                self._login.username, self._origin, "passphrase"
            ) from None

    async def _put(
        self, host: HostClient, opened: OpenedAccount, client: ClientKey
    ) -> TransportError | None:
        """Send the edit that adds the client.

        Return what came in place of an answer; None: the host has answered, and
        what it has now tells the rest.
        """
        edit = AddClient(client=client, label=self._login.label).run(
            opened, heads={}, profile=self._profile, random=self._random
        )
        keystore = new_keystore(opened, edit.account, client, self._random)
        await asyncio.to_thread(
            self._write_pending,
            PendingLogin(
                origin=self._origin,
                username=self._login.username,
                account_id=edit.account.document.account_id.hex(),
                client_id=client.client_id.hex(),
                keystore=keystore,
            ),
        )
        self._step("login-attempt-stored")
        prover = Prover(
            username=self._login.username,
            client_id=client.client_id,
            salt=opened.account.document.salt,
            nonce=(await host.prelogin(self._login.username)).nonce,
        )
        try:
            await host.put_document(
                prover,
                document=edit.document,
                keys_blob=edit.keys_blob,
                key=login_key_of(opened),
            )
        except HostRefusedError as error:
            # Another client was faster, and may have changed the passphrase.
            if error.code not in {"document-conflict", "proof-refused"}:
                raise
        except TransportError as error:
            if isinstance(error, HostBusyError) and error.code == "rate-limited":
                raise
            return error
        self._step("login-answered")
        return None

    @contextlib.contextmanager
    def _saying_what_is_unknown(self, *, is_sent: bool) -> Iterator[None]:
        try:
            yield
        except TransportError as error:
            if not is_sent:
                raise
            raise NoAnswerError(
                f"{self._origin} did not answer: whether it has added this machine is"
                " not known yet",
                hint="log in again when it can be reached: it goes on where it was",
            ) from error

    # -- a login that was cut ------------------------------------------------

    async def _earlier_unused(
        self, host: HostClient, pending: PendingLogin | None, opened: OpenedAccount
    ) -> ClientKey | None:
        """Return the client key of a login that was cut, if it has signed no record.

        One that has is of a vault that was there, and may be elsewhere now: with
        another log under the same key there would be two records of one place.
        """
        client = self._earlier(pending, opened)
        if client is None:
            return None
        if opened.account.document.client(client.client_id) is None:
            return client
        heads = await host.heads()
        return client if heads.head(client.client_id) is None else None

    def _earlier(
        self, pending: PendingLogin | None, opened: OpenedAccount
    ) -> ClientKey | None:
        """Return the client key of a login that was cut, if it is of this account."""
        document = opened.account.document
        if pending is None or pending.account_id != document.account_id.hex():
            return None
        client_id = pending.client
        entry = document.client(client_id)
        if entry is not None and entry.revoked:
            return None
        for epoch in sorted(opened.ring, reverse=True):
            with contextlib.suppress(IntegrityError):
                return open_keystore(
                    opened.ring[epoch],
                    document.account_id,
                    client_id,
                    pending.keystore,
                ).client_key
        return None

    def _read_pending(self) -> PendingLogin | None:
        try:
            pending = read_pending(self._file)
        except OSError as error:
            raise LoginFileError(self._file, error) from error
        if pending is None:
            return None
        if (pending.origin, pending.username) != (self._origin, self._login.username):
            return None
        return pending

    def _write_pending(self, pending: PendingLogin) -> None:
        try:
            write_pending(self._file, pending)
        except OSError as error:
            raise LoginFileError(self._file, error) from error


async def fetch_account(
    host: HostClient, account_id: AccountId, *, username: str, known: list[bytes]
) -> tuple[VerifiedAccount, list[bytes]]:
    """Return an account that a host serves, verified from its first version.

    `known` are the documents that were fetched before, all of them again in what is
    returned. Raises an `IntegrityError` for what no owner signed, and for an account
    of another username.
    """
    documents = known or await host.documents(after=0)
    account = await asyncio.to_thread(verify_documents, account_id, documents)
    later = await later_documents(host, account)
    account = await asyncio.to_thread(account.extended_by, later)
    if account.document.username != username:
        raise WrongPlaceError("the host serves the account of another username")
    return account, documents + later


class LoginFileError(Error):
    """The file of a login that is under way cannot be used."""

    def __init__(self, path: Path, error: OSError) -> None:
        """Say which, and why."""
        super().__init__(f'cannot use "{path}": {error.strerror or error}')
