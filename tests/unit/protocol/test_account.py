"""Accounts: made, verified, opened, extended."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awvault.crypto.keys import (
    JournalKey,
    Passphrase,
    RecoveryKey,
    derive_recovery_kek,
)
from awvault.crypto.passphrase import Profile
from awvault.crypto.slots import open_client_label, seal_recovery_slot
from awvault.errors import (
    DocumentError,
    Error,
    InvalidInputError,
    MalformedError,
    RollbackError,
    SealError,
    SignatureError,
    WrongPassphraseError,
    WrongRecoveryKeyError,
)
from awvault.protocol.account import (
    KEYS_BLOB_BYTES_MAX,
    KeysBlob,
    Keystore,
    create_account,
    open_account,
    open_keys,
    open_keystore,
    seal_keystore,
    verify_documents,
)
from awvault.protocol.document import NO_KEY, hash_keys_blob
from tests.helpers.owners import CHEAP, PASSPHRASE, Owner
from tests.helpers.randomness import Seeded, fixed

NO_ARGON2 = Profile(memory_kib=1, passes=1)
"""With it Argon2 does not run."""


def test_a_new_account_opens_with_its_passphrase_alone() -> None:
    """What `create_account` stores is all that is needed, besides the passphrase."""
    new = create_account(
        Passphrase("one passphrase"),
        username="local",
        client_label="Läptop",
        profile=CHEAP,
        random=Seeded("new"),
    )

    account = verify_documents(new.account_id, [new.document])
    ring = open_account(
        Passphrase("one passphrase"), account, new.keys_blob, profile=CHEAP
    )
    keystore = open_keystore(ring[0], new.account_id, new.client_id, new.keystore)

    (client,) = account.document.clients
    assert (client.number, client.client_id) == (1, new.client_id)
    assert keystore.client_key.client_id == new.client_id
    assert keystore.ring == ring
    assert keystore.pin == account.pin == (1, new.document_hash)
    assert account.document.recovery_login_public == NO_KEY
    label = open_client_label(
        ring[0],
        client.sealed_label,
        account_id=new.account_id,
        client_id=new.client_id,
    )
    assert label == "Läptop"
    with pytest.raises(WrongPassphraseError):
        open_account(
            Passphrase("another passphrase"), account, new.keys_blob, profile=CHEAP
        )


@pytest.mark.parametrize("username", ["", "A", "a b", "a" * 33, "\u00e9", "local\n"])
def test_a_username_that_is_none_is_refused_before_argon2(username: str) -> None:
    """A document with such a name would be refused by every reader."""
    with pytest.raises(InvalidInputError) as caught:
        create_account(
            Passphrase("x"),
            username=username,
            client_label="",
            profile=CHEAP,
            random=Seeded("new"),
        )
    assert caught.value.field == "username"


def test_two_accounts_of_one_passphrase_share_nothing() -> None:
    """Other randomness, other keys, though passphrase and name are the same."""
    one, two = (
        create_account(
            Passphrase("x"),
            username="local",
            client_label="",
            profile=CHEAP,
            random=Seeded(name),
        )
        for name in ("one", "two")
    )

    assert one.account_id != two.account_id
    assert one.client_id != two.client_id


def test_a_recovery_key_opens_what_it_was_made_for() -> None:
    """A slot under the recovery key opens the account, without Argon2."""
    owner = Owner()
    recovery = RecoveryKey(fixed("recovery"))
    slot = seal_recovery_slot(
        derive_recovery_kek(recovery),
        owner.master(),
        account_id=owner.account_id,
        epoch=0,
        random=Seeded("slot"),
    )
    blob = KeysBlob.decode(owner.keys_blob())
    data = KeysBlob(
        passphrase_slot=blob.passphrase_slot, recovery_slot=slot, ring=blob.ring
    ).encode()
    owner.sign(
        owner.next(
            keys_blob_hash=hash_keys_blob(data),
            recovery_login_public=fixed("recovery login"),
        )
    )
    account = owner.verified()

    assert open_keys(recovery, account, data, profile=NO_ARGON2).ring == owner.ring()
    assert (
        open_account(Passphrase(PASSPHRASE), account, data, profile=CHEAP)
        == owner.ring()
    )
    with pytest.raises(WrongRecoveryKeyError):
        open_keys(RecoveryKey(fixed("other")), account, data, profile=NO_ARGON2)


def test_an_account_without_a_recovery_key_is_not_recovered() -> None:
    """Where there is no recovery slot, no recovery key opens anything."""
    owner = Owner()

    with pytest.raises(WrongRecoveryKeyError):
        open_keys(
            RecoveryKey(fixed("recovery")),
            owner.verified(),
            owner.keys_blob(),
            profile=NO_ARGON2,
        )


def test_a_chain_that_breaks_leaves_what_was_verified() -> None:
    """A later version that is refused changes nothing of the versions before."""
    owner = Owner()
    owner.sign(owner.next())
    account = owner.verified()
    good = owner.sign(owner.next())
    forged = owner.next().sign(Owner("stranger").ask())
    pin = account.pin

    with pytest.raises(SignatureError):
        account.extended_by([good, forged])

    assert account.pin == pin
    assert account.extended_by([good]).pin == owner.verified().pin


def test_an_old_chain_and_another_chain_are_told_apart() -> None:
    """A rollback names both versions, a fork says that there are two."""
    owner = Owner()
    owner.sign(owner.next())
    pin = owner.verified().pin

    with pytest.raises(RollbackError) as caught:
        verify_documents(owner.account_id, owner.documents[:1]).check_pin(pin)
    assert (caught.value.verified, caught.value.offered) == (2, 1)

    second = replace(owner.verified().document, salt=fixed("fork", 16))
    fork = verify_documents(
        owner.account_id, [owner.documents[0], owner.signed(second)]
    )
    with pytest.raises(DocumentError, match="version 2 is another one"):
        fork.check_pin(pin)


def test_erasures_are_found_by_their_log() -> None:
    """A reader of one log is told of its erasures alone."""
    owner = Owner()

    assert owner.verified().erased(owner.client_id()) == []


@given(st.binary(max_size=300))
def test_any_bytes_are_a_blob_or_an_error_of_ours(data: bytes) -> None:
    """A blob that decodes encodes to the same bytes; all else is refused."""
    with pytest.raises(Error):
        KeysBlob.decode(data)
    with pytest.raises(Error):
        KeysBlob.decode(b"AWKB\1" + data)


def test_a_blob_above_the_limit_is_refused_at_once() -> None:
    """The size is bounded before anything is read."""
    with pytest.raises(MalformedError, match=str(KEYS_BLOB_BYTES_MAX)):
        KeysBlob.decode(b"AWKB\1" + bytes(KEYS_BLOB_BYTES_MAX))


def test_a_keystore_is_sealed_under_the_epoch_in_force() -> None:
    """After a new epoch, the old key opens the keystore no more."""
    owner = Owner()
    client = owner.client_keys[0]
    keystore = Keystore(
        client_number=0,
        client_key=client,
        journal_key=JournalKey(fixed("journal")),
        pin=(2, fixed("pin")),
        ring=owner.ring(1),
    )

    sealed = seal_keystore(owner.account_id, keystore, epoch=1, random=Seeded("k"))

    opened = open_keystore(
        owner.epoch_key(1), owner.account_id, client.client_id, sealed
    )
    assert opened == keystore
    with pytest.raises(SealError):
        open_keystore(owner.epoch_key(0), owner.account_id, client.client_id, sealed)
