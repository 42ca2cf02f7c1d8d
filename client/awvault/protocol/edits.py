"""Changes of an account, as intents.

An intent says what its owner wants. Run on an opened account it gives the next
version of the account document, and the keys blob where that changes too. If
another client was faster, the result is thrown away and the intent is run again
on the newer version: a stale result would bring back what the other had replaced.

The master key comes in with `OpenedAccount`, and does not leave. Every result was
verified as any client verifies what a host serves.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from awserver.records import ClientId, Head
from awvault.crypto.keys import (
    AccountSigningKey,
    ClientKey,
    JournalKey,
    LoginKey,
    Passphrase,
    PassphraseKey,
    Random,
    RecoveryKey,
    RecoveryLoginKey,
    derive_account_signing_key,
    derive_login_key,
    derive_passphrase_kek,
    derive_recovery_kek,
    derive_recovery_login_key,
    derive_ring_kek,
    new_key,
)
from awvault.crypto.passphrase import Profile, derive_passphrase_key, new_salt
from awvault.crypto.slots import (
    seal_client_label,
    seal_passphrase_slot,
    seal_recovery_slot,
    seal_ring,
)
from awvault.errors import DocumentError, InvalidInputError, LimitError
from awvault.protocol.account import (
    Keystore,
    OpenedAccount,
    Pin,
    VerifiedAccount,
    check_username,
    seal_keystore,
)
from awvault.protocol.document import (
    CLIENTS_MAX,
    LOCAL_USERNAME,
    AccountDocument,
    ClientEntry,
    hash_keys_blob,
)
from awvault.protocol.proving import RegisterKeys

NUMBER_MAX: Final = CLIENTS_MAX - 1

Heads = Mapping[ClientId, Head]
"""The newest record of each log, as whoever makes an edit has verified it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A next version of the account document. Nothing in it is secret."""

    document: bytes
    keys_blob: bytes | None
    """None: the blob stays as it is."""
    account: VerifiedAccount
    """The chain, with this version as its newest."""

    @property
    def pin(self) -> Pin:
        """(version, hash) of the new version."""
        return self.account.pin


class Intent(Protocol):
    """What an owner wants of an account."""

    def run(
        self, opened: OpenedAccount, *, heads: Heads, profile: Profile, random: Random
    ) -> Edit:
        """Make the next version.

        May run Argon2, which takes about a second. Raises `InvalidInputError`
        where the account does not allow it, and `DocumentError` if `heads` are not
        those of the document's logs.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimUsername:
    """A local account takes the name that a host will know it by.

    It keeps its id, its keys and its clients. Salt, passphrase slot and login key
    are new, for they are bound to the name; the passphrase may be the same.
    """

    username: str
    passphrase: Passphrase
    recovery: RecoveryKey

    def run(
        self, opened: OpenedAccount, *, heads: Heads, profile: Profile, random: Random
    ) -> Edit:
        """See `Intent.run`."""
        check_host_username(self.username)
        known = opened.account.document.username
        if known != LOCAL_USERNAME:
            raise InvalidInputError(
                "username",
                f'the account is "{known}" already, and a username never changes',
            )
        return _Sealer(opened, heads, profile, random).change_secrets(
            username=self.username, passphrase=self.passphrase, recovery=self.recovery
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AddClient:
    """A new installation gets a log in the account."""

    client: ClientKey
    label: str
    """What a person calls it; sealed."""

    def run(
        self, opened: OpenedAccount, *, heads: Heads, profile: Profile, random: Random
    ) -> Edit:
        """See `Intent.run`. The number of the client is the next that is free."""
        document = opened.account.document
        number = document.clients[-1].number + 1
        if number > NUMBER_MAX:
            raise LimitError(
                "client", f"the account has had {number} clients, no more fit"
            )
        if document.client(self.client.client_id) is not None:
            raise InvalidInputError("client", "the account names this client already")
        entry = ClientEntry(
            number=number,
            public=self.client.public,
            added_version=document.version + 1,
            label_epoch=document.epoch,
            sealed_label=seal_client_label(
                opened.ring[document.epoch],
                self.label,
                account_id=document.account_id,
                client_id=self.client.client_id,
                random=random,
            ),
        )
        return _Sealer(opened, heads, profile, random).sign(
            clients=(*document.clients, entry)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePassphrase:
    """Another passphrase opens the account: new salt, slot and login key.

    The recovery slot stays, byte for byte. It is no help against somebody who kept
    the old slot and learns the old passphrase: the keys are the same.
    """

    passphrase: Passphrase

    def run(
        self, opened: OpenedAccount, *, heads: Heads, profile: Profile, random: Random
    ) -> Edit:
        """See `Intent.run`."""
        return _Sealer(opened, heads, profile, random).change_secrets(
            passphrase=self.passphrase
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRecoveryKey:
    """Another recovery key opens the account; the passphrase slot stays."""

    recovery: RecoveryKey

    def run(
        self, opened: OpenedAccount, *, heads: Heads, profile: Profile, random: Random
    ) -> Edit:
        """See `Intent.run`."""
        return _Sealer(opened, heads, profile, random).change_secrets(
            recovery=self.recovery
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetSecrets:
    """Another passphrase and another recovery key, after a recovery."""

    passphrase: Passphrase
    recovery: RecoveryKey

    def run(
        self, opened: OpenedAccount, *, heads: Heads, profile: Profile, random: Random
    ) -> Edit:
        """See `Intent.run`."""
        return _Sealer(opened, heads, profile, random).change_secrets(
            passphrase=self.passphrase, recovery=self.recovery
        )


def check_host_username(username: str) -> None:
    """Raise `InvalidInputError` for a username that no host takes."""
    check_username(username)
    if username == LOCAL_USERNAME:
        raise InvalidInputError(
            "username", f'"{LOCAL_USERNAME}" is the name of accounts without a host'
        )


def login_key_of(opened: OpenedAccount) -> LoginKey | RecoveryLoginKey:
    """Return the key that proves to a host what the account was opened with."""
    if isinstance(opened.owner, PassphraseKey):
        return derive_login_key(opened.owner)
    return derive_recovery_login_key(opened.owner)


def register_keys_of(
    opened: OpenedAccount, *, recovery: RecoveryKey, client: ClientKey
) -> RegisterKeys:
    """Return the keys that prove a new account to a host.

    `opened` is the version that is offered, opened with its own passphrase: what
    would lock its owner out is noticed before it is sent. Raises `DocumentError`
    if that version names other keys.
    """
    document = opened.account.document
    keys = RegisterKeys(
        login=login_key_of(opened),
        recovery=derive_recovery_login_key(recovery),
        client=client,
        signing=_signing_key(opened),
    )
    if (
        keys.login.public != document.login_public
        or keys.recovery.public != document.recovery_login_public
        or client.client_id not in opened.account.clients
    ):
        raise DocumentError("the account document names other keys than these")
    return keys


def new_recovery_key(opened: OpenedAccount, random: Random) -> RecoveryKey:
    """Return a new recovery key. It opens nothing until an edit has sealed it."""
    return new_key(
        RecoveryKey,
        opened.owner,
        context=opened.account.document.account_id,
        random=random,
    )


def new_client_key(opened: OpenedAccount, random: Random) -> ClientKey:
    """Return the key of a new client. It signs nothing until an edit names it."""
    return new_key(
        ClientKey,
        opened.owner,
        context=opened.account.document.account_id,
        random=random,
    )


def new_keystore(
    opened: OpenedAccount, account: VerifiedAccount, client: ClientKey, random: Random
) -> bytes:
    """Return the sealed keystore of a client that `account` names, with a new JK.

    Raises `DocumentError` if the account does not name it.
    """
    document = account.document
    entry = document.client(client.client_id)
    if entry is None:
        raise DocumentError("the account document does not name this client")
    keystore = Keystore(
        client_number=entry.number,
        client_key=client,
        journal_key=new_key(
            JournalKey, opened.owner, context=document.account_id, random=random
        ),
        pin=account.pin,
        ring=opened.ring,
    )
    return seal_keystore(
        document.account_id, keystore, epoch=document.epoch, random=random
    )


def _signing_key(opened: OpenedAccount) -> AccountSigningKey:
    return derive_account_signing_key(opened.master)


class _Sealer:
    """Makes the version after the newest of an opened account."""

    def __init__(
        self, opened: OpenedAccount, heads: Heads, profile: Profile, random: Random
    ) -> None:
        self._opened = opened
        self._heads = heads
        self._profile = profile
        self._random = random

    def sign(self, *, keys_blob: bytes | None = None, **changes: Any) -> Edit:
        """Return the next version: the newest one with some fields changed."""
        account = self._opened.account
        newest = account.newest
        document = replace(
            newest.document,
            version=newest.document.version + 1,
            prev=newest.hash,
            heads=_grown_heads(newest.document, self._heads),
            **changes,
        )
        data = document.sign(_signing_key(self._opened))
        # What other clients would refuse never leaves.
        return Edit(
            document=data, keys_blob=keys_blob, account=account.extended_by([data])
        )

    def change_secrets(
        self,
        *,
        username: str | None = None,
        passphrase: Passphrase | None = None,
        recovery: RecoveryKey | None = None,
    ) -> Edit:
        """Seal the master key again, for what is given; the rest stays."""
        opened, document = self._opened, self._opened.account.document
        blob = opened.blob
        changes: dict[str, Any] = {}
        if passphrase is not None:
            changes["username"] = username or document.username
            changes["salt"] = salt = new_salt(self._random)
            key = derive_passphrase_key(
                passphrase,
                username=changes["username"],
                salt=salt,
                profile=self._profile,
            )
            changes["login_public"] = derive_login_key(key).public
            blob = replace(
                blob,
                passphrase_slot=seal_passphrase_slot(
                    derive_passphrase_kek(key),
                    opened.master,
                    account_id=document.account_id,
                    epoch=document.epoch,
                    salt=salt,
                    random=self._random,
                ),
                ring=seal_ring(
                    derive_ring_kek(opened.master),
                    opened.ring,
                    account_id=document.account_id,
                    epoch=document.epoch,
                    salt=salt,
                    random=self._random,
                ),
            )
        if recovery is not None:
            login = derive_recovery_login_key(recovery)
            changes["recovery_login_public"] = login.public
            blob = replace(
                blob,
                recovery_slot=seal_recovery_slot(
                    derive_recovery_kek(recovery),
                    opened.master,
                    account_id=document.account_id,
                    epoch=document.epoch,
                    random=self._random,
                ),
            )
        data = blob.encode()
        return self.sign(keys_blob=data, keys_blob_hash=hash_keys_blob(data), **changes)


def _grown_heads(
    document: AccountDocument, verified: Heads
) -> tuple[tuple[ClientId, Head], ...]:
    """Return the heads of the next version: they grow, and go beyond no end.

    Raises `DocumentError` where what was verified is another log than the one that
    the document speaks of.
    """
    heads = dict(document.heads)
    for client_id, newest in verified.items():
        entry = document.client(client_id)
        if entry is None:
            raise DocumentError(
                f"a head is of client {client_id.hex()[:8]}, which the account document"
                " does not name"
            )
        if entry.revoked and entry.final is None:
            continue
        ended = entry.final is not None and newest.seq > entry.final.seq
        head = entry.final if entry.final is not None and ended else newest
        known = heads.get(client_id)
        if known is not None and head.seq == known.seq and head.hash != known.hash:
            raise DocumentError(
                f"record {head.seq} of client {entry.number} is another one than the"
                " account document names"
            )
        if known is None or head.seq > known.seq:
            heads[client_id] = head
    return tuple(sorted(heads.items()))
