"""Edits: intents that are run on whatever version is the newest."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from awserver.records import AccountId, ClientId, Head, RecordHash, Seq
from awvault.crypto.keys import ClientKey, Passphrase, RecoveryKey
from awvault.crypto.passphrase import Profile
from awvault.crypto.slots import open_client_label
from awvault.errors import (
    DocumentError,
    InvalidInputError,
    LimitError,
    WrongPassphraseError,
    WrongRecoveryKeyError,
)
from awvault.protocol.account import (
    KeysBlob,
    OpenedAccount,
    VerifiedAccount,
    create_account,
    open_keys,
    open_keystore,
    verify_documents,
)
from awvault.protocol.document import CLIENTS_MAX, NO_KEY
from awvault.protocol.edits import (
    AddClient,
    ChangePassphrase,
    ClaimUsername,
    Edit,
    Heads,
    Intent,
    ResetSecrets,
    SetRecoveryKey,
    login_key_of,
    new_client_key,
    new_keystore,
    new_recovery_key,
    register_keys_of,
)
from tests.helpers.owners import CHEAP, PASSPHRASE, Owner
from tests.helpers.randomness import Seeded, fixed

NO_ARGON2 = Profile(memory_kib=1, passes=1)
OLD = Passphrase(PASSPHRASE)
NEW = Passphrase("another horse, another battery")
R = RecoveryKey(fixed("recovery"))
OTHER_R = RecoveryKey(fixed("other recovery"))


@dataclass
class Account:
    """What a host would hold, grown by intents."""

    random: Seeded = field(default_factory=lambda: Seeded("edits"))
    documents: list[bytes] = field(default_factory=list)
    keys_blob: bytes = b""
    account_id: AccountId = field(init=False)

    def __post_init__(self) -> None:
        new = create_account(
            OLD,
            username="local",
            client_label="laptop",
            profile=CHEAP,
            random=self.random,
        )
        self.account_id = new.account_id
        self.documents = [new.document]
        self.keys_blob = new.keys_blob

    @property
    def verified(self) -> VerifiedAccount:
        return verify_documents(self.account_id, self.documents)

    @property
    def blob(self) -> KeysBlob:
        return KeysBlob.decode(self.keys_blob)

    @property
    def first_client(self) -> ClientId:
        return self.verified.document.clients[0].client_id

    def open(self, secret: Passphrase | RecoveryKey = OLD) -> OpenedAccount:
        profile = CHEAP if isinstance(secret, Passphrase) else NO_ARGON2
        return open_keys(secret, self.verified, self.keys_blob, profile=profile)

    def run(self, intent: Intent, opened: OpenedAccount, heads: Heads) -> Edit:
        return intent.run(opened, heads=heads, profile=CHEAP, random=self.random)

    def take(
        self,
        intent: Intent,
        secret: Passphrase | RecoveryKey = OLD,
        heads: Heads | None = None,
    ) -> Edit:
        edit = self.run(intent, self.open(secret), heads or {})
        self.documents.append(edit.document)
        self.keys_blob = edit.keys_blob or self.keys_blob
        return edit


def claimed() -> Account:
    account = Account()
    account.take(ClaimUsername(username="alice", passphrase=OLD, recovery=R))
    return account


def head(seq: int, name: str = "record") -> Head:
    return Head(seq=Seq(seq), hash=RecordHash(fixed(f"{name} {seq}")))


def client(name: str) -> ClientKey:
    return ClientKey(fixed(f"client {name}"))


# -- a name at a host


def test_a_local_account_takes_a_name_and_keeps_what_it_is() -> None:
    """Id, keys and clients stay; salt, slot, login key and recovery are new."""
    account = Account()
    before = account.verified.document
    old_blob, ring = account.blob, account.open().ring

    edit = account.take(ClaimUsername(username="alice", passphrase=NEW, recovery=R))

    after = account.verified.document
    assert edit.pin == account.verified.pin == (2, edit.account.newest.hash)
    assert (after.username, after.epoch) == ("alice", 0)
    assert after.account_id == before.account_id
    assert after.signing_public == before.signing_public
    assert after.clients == before.clients
    assert after.salt != before.salt
    assert after.login_public != before.login_public
    assert after.recovery_login_public not in {NO_KEY, before.recovery_login_public}
    assert account.blob.passphrase_slot != old_blob.passphrase_slot
    assert account.open(NEW).ring == ring
    assert account.open(R).ring == ring
    with pytest.raises(WrongPassphraseError):
        account.open(OLD)


def test_the_passphrase_may_stay_with_a_new_name() -> None:
    """The same passphrase opens the slot that was made for the name."""
    assert claimed().open(OLD).ring == Account().open(OLD).ring


@pytest.mark.parametrize("username", ["", "Alice", "a" * 33, "local", "a\n"])
def test_a_name_that_no_host_takes_is_refused(username: str) -> None:
    """Before Argon2 runs, the error names the field."""
    account = Account()
    intent = ClaimUsername(username=username, passphrase=OLD, recovery=R)

    with pytest.raises(InvalidInputError) as caught:
        intent.run(account.open(), heads={}, profile=NO_ARGON2, random=account.random)

    assert caught.value.field == "username"


def test_a_name_never_changes() -> None:
    """An account that has a name does not take another."""
    account = claimed()
    intent = ClaimUsername(username="bob", passphrase=OLD, recovery=R)

    with pytest.raises(InvalidInputError, match='the account is "alice" already'):
        account.take(intent)


def test_what_is_registered_was_opened_as_it_is_offered() -> None:
    """The keys that sign are those that the offered version names, or none is given."""
    account = Account()
    mine = ClientKey(fixed("mine"))
    account.take(AddClient(client=mine, label="mine"))
    account.take(ClaimUsername(username="alice", passphrase=NEW, recovery=R))

    keys = register_keys_of(account.open(NEW), recovery=R, client=mine)

    document = account.verified.document
    assert keys.login.public == document.login_public
    assert keys.recovery.public == document.recovery_login_public
    assert keys.signing.public == document.signing_public
    for recovery, key in [(OTHER_R, mine), (R, client("stranger"))]:
        with pytest.raises(DocumentError, match="other keys"):
            register_keys_of(account.open(NEW), recovery=recovery, client=key)
    with pytest.raises(DocumentError, match="other keys"):
        register_keys_of(account.open(R), recovery=R, client=mine)


# -- clients


def test_clients_are_numbered_one_after_the_other() -> None:
    """Each new client gets the next number, and a label only the account opens."""
    account = claimed()
    blob = account.keys_blob

    edits = [
        account.take(AddClient(client=client(name), label=f"Büro {name}"))
        for name in ("a", "b", "c")
    ]

    document = account.verified.document
    assert [entry.number for entry in document.clients] == [1, 2, 3, 4]
    assert [entry.added_version for entry in document.clients] == [1, 3, 4, 5]
    assert all(edit.keys_blob is None for edit in edits)
    assert account.keys_blob == blob
    label = open_client_label(
        account.open().ring[0],
        document.clients[2].sealed_label,
        account_id=document.account_id,
        client_id=client("b").client_id,
    )
    assert label == "Büro b"


def test_a_client_is_added_once() -> None:
    """Running the intent again on a version that has it makes no second number."""
    account = claimed()
    account.take(AddClient(client=client("a"), label=""))

    with pytest.raises(InvalidInputError, match="names this client already"):
        account.take(AddClient(client=client("a"), label=""))


def test_the_last_number_is_the_last_client() -> None:
    """Numbers are not used again, so there is an end to them."""
    owner = Owner("full", clients=1)
    last = replace(owner.entry(1), number=CLIENTS_MAX - 1, added_version=2)
    clients = (*owner.verified().document.clients, last)
    owner.sign(owner.next(clients=clients))
    opened = open_keys(OLD, owner.verified(), owner.keys_blob(), profile=CHEAP)

    with pytest.raises(LimitError, match="no more fit"):
        AddClient(client=client("a"), label="").run(
            opened, heads={}, profile=CHEAP, random=owner.random
        )


def test_a_new_client_has_keys_of_its_own() -> None:
    """Its keystore opens with the epoch key, and holds its number, pin and ring."""
    account = claimed()
    key = new_client_key(account.open(), account.random)
    other = new_client_key(account.open(), account.random)
    edit = account.take(AddClient(client=key, label="desk"))

    sealed = new_keystore(account.open(), edit.account, key, account.random)

    keystore = open_keystore(
        account.open().ring[0], account.account_id, key.client_id, sealed
    )
    assert keystore.client_number == 2
    assert keystore.client_key == key
    assert key != other
    assert keystore.pin == edit.pin
    assert keystore.ring == account.open().ring
    with pytest.raises(DocumentError, match="does not name this client"):
        new_keystore(account.open(), edit.account, other, account.random)


# -- secrets


def test_a_changed_passphrase_leaves_the_recovery_key_alone() -> None:
    """New salt, slot and login key; the recovery slot is the same bytes."""
    account = claimed()
    before, blob = account.verified.document, account.blob
    ring = account.open().ring

    account.take(ChangePassphrase(passphrase=NEW))

    after = account.verified.document
    assert account.blob.recovery_slot == blob.recovery_slot
    assert account.blob.passphrase_slot != blob.passphrase_slot
    assert after.recovery_login_public == before.recovery_login_public
    assert after.salt != before.salt
    assert after.login_public != before.login_public
    assert after.username == "alice"
    assert account.open(NEW).ring == account.open(R).ring == ring
    with pytest.raises(WrongPassphraseError):
        account.open(OLD)


def test_a_new_recovery_key_leaves_the_passphrase_alone() -> None:
    """Only the recovery slot and its login key are others."""
    account = claimed()
    before, blob = account.verified.document, account.blob

    account.take(SetRecoveryKey(recovery=OTHER_R))

    after = account.verified.document
    assert account.blob == replace(blob, recovery_slot=account.blob.recovery_slot)
    assert (after.salt, after.login_public) == (before.salt, before.login_public)
    assert account.open(OLD).ring == account.open(OTHER_R).ring
    with pytest.raises(WrongRecoveryKeyError):
        account.open(R)


def test_a_recovery_replaces_both_secrets() -> None:
    """Opened by the recovery key, the account gets a new passphrase and a new key."""
    account = claimed()

    account.take(ResetSecrets(passphrase=NEW, recovery=OTHER_R), secret=R)

    assert account.open(NEW).ring == account.open(OTHER_R).ring
    for lost in (OLD, R):
        with pytest.raises((WrongPassphraseError, WrongRecoveryKeyError)):
            account.open(lost)


def test_the_key_that_proves_is_that_of_what_was_typed() -> None:
    """A passphrase proves the login key, the words prove the recovery login key."""
    account = claimed()
    document = account.verified.document

    assert login_key_of(account.open(OLD)).public == document.login_public
    assert login_key_of(account.open(R)).public == document.recovery_login_public


def test_a_new_recovery_key_is_a_new_one_each_time() -> None:
    """Two are never the same, and none is in force before an edit seals it."""
    opened = claimed().open()
    random = Seeded("recoveries")

    one, two = (new_recovery_key(opened, random) for _ in range(2))

    assert one != two
    with pytest.raises(WrongRecoveryKeyError):
        claimed().open(one)


# -- heads


def test_an_edit_says_what_its_writer_has_verified() -> None:
    """Heads grow, stand in order, and keep what the writer has not seen."""
    account = claimed()
    account.take(AddClient(client=client("a"), label=""))
    account.take(AddClient(client=client("b"), label=""))
    first, a, b = account.first_client, client("a").client_id, client("b").client_id

    account.take(ChangePassphrase(passphrase=OLD), heads={first: head(3), a: head(9)})
    account.take(ChangePassphrase(passphrase=OLD), heads={a: head(7), b: head(0)})

    assert dict(account.verified.document.heads) == {
        first: head(3),
        a: head(9),
        b: head(0),
    }


def test_a_head_of_another_log_stops_the_edit() -> None:
    """Two hashes at one place are a fork; no version speaks of both."""
    account = claimed()
    first = account.first_client
    account.take(ChangePassphrase(passphrase=OLD), heads={first: head(3)})

    with pytest.raises(DocumentError, match="record 3 of client 1 is another one"):
        account.take(ChangePassphrase(passphrase=OLD), heads={first: head(3, "forged")})
    with pytest.raises(DocumentError, match="does not name"):
        account.take(
            ChangePassphrase(passphrase=OLD), heads={client("x").client_id: head(1)}
        )


@pytest.mark.parametrize(
    ("final", "verified", "named"),
    [
        (head(5), head(2), head(2)),
        (head(5), head(5), head(5)),
        (head(5), head(9), head(5)),
        (None, head(9), None),
    ],
    ids=["before", "at", "beyond", "nothing counts"],
)
def test_no_head_goes_beyond_the_end_of_a_client(
    final: Head | None, verified: Head, named: Head | None
) -> None:
    """Of a revoked client, what came after its end is not spoken of."""
    owner = Owner("ended", clients=2)
    ended = replace(owner.verified().document.clients[1], revoked=True, final=final)
    owner.sign(owner.next(clients=(owner.verified().document.clients[0], ended)))
    opened = open_keys(OLD, owner.verified(), owner.keys_blob(), profile=CHEAP)

    edit = ChangePassphrase(passphrase=NEW).run(
        opened,
        heads={ended.client_id: verified},
        profile=CHEAP,
        random=owner.random,
    )

    assert dict(edit.account.document.heads).get(ended.client_id) == named


# -- conflicts


@pytest.mark.parametrize(
    "mine",
    [
        lambda: AddClient(client=client("mine"), label="mine"),
        lambda: SetRecoveryKey(recovery=OTHER_R),
    ],
    ids=["client", "recovery"],
)
def test_an_intent_runs_again_on_what_another_client_made(
    mine: Callable[[], Intent],
) -> None:
    """After a conflict, both edits are in force: nothing is brought back."""
    account = claimed()
    stale = account.run(mine(), account.open(), {})
    account.take(AddClient(client=client("theirs"), label="theirs"))
    account.take(ChangePassphrase(passphrase=NEW))

    with pytest.raises(DocumentError):
        account.verified.extended_by([stale.document])
    account.take(mine(), secret=NEW)

    assert client("theirs").client_id in account.verified.clients
    account.open(NEW)
    with pytest.raises(WrongPassphraseError):
        account.open(OLD)


def test_a_blob_of_an_old_version_is_no_ground_for_an_edit() -> None:
    """An account is opened with the blob that its newest version names, or not."""
    account = claimed()
    old = account.keys_blob
    account.take(ChangePassphrase(passphrase=NEW))

    with pytest.raises(DocumentError, match="not the one that the document names"):
        open_keys(OLD, account.verified, old, profile=NO_ARGON2)
