"""T17: a wrapped master key from elsewhere, altered, or wrapped again."""

from dataclasses import replace
from functools import partial

import pytest

from awvault.crypto.keys import (
    MasterKey,
    Passphrase,
    PassphraseKek,
    RecoveryKek,
    derive_passphrase_kek,
    derive_ring_kek,
)
from awvault.crypto.passphrase import Profile, derive_passphrase_key
from awvault.crypto.slots import (
    open_passphrase_slot,
    seal_passphrase_slot,
    seal_recovery_slot,
    seal_ring,
)
from awvault.errors import (
    DocumentError,
    EpochError,
    Error,
    MalformedError,
    SealError,
    SignatureError,
    UnsupportedSuiteError,
    WrongPassphraseError,
)
from awvault.protocol.account import KeysBlob, open_account
from awvault.protocol.document import AccountDocument, hash_keys_blob
from tests.helpers.owners import CHEAP, PASSPHRASE, Owner
from tests.helpers.randomness import Seeded, fixed
from tests.helpers.refusals import refusal

TRIPWIRE = Profile(memory_kib=1, passes=1)
"""Argon2 refuses to run with it: another error than its own came before it."""


def open_with(owner: Owner, blob: bytes, profile: Profile = CHEAP) -> object:
    return open_account(Passphrase(PASSPHRASE), owner.verified(), blob, profile=profile)


def name(owner: Owner, blob: bytes) -> None:
    """Have the owner sign a document that names `blob`."""
    owner.sign(owner.next(keys_blob_hash=hash_keys_blob(blob)))


def kek(owner: Owner) -> PassphraseKek:
    return derive_passphrase_kek(
        derive_passphrase_key(
            Passphrase(PASSPHRASE), username="local", salt=owner.salt(), profile=CHEAP
        )
    )


def test_the_right_blob_opens() -> None:
    """What the attacks below are refused from does open."""
    owner = Owner()

    assert open_with(owner, owner.keys_blob()) == owner.ring()


def test_every_flipped_bit_of_the_blob_is_refused_before_argon2() -> None:
    """The document names the blob: a host cannot even make the client guess."""
    owner = Owner()
    account = owner.verified()
    blob = owner.keys_blob()

    for at in range(len(blob) * 8):
        flipped = bytearray(blob)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(Error) as caught:
            open_account(
                Passphrase(PASSPHRASE), account, bytes(flipped), profile=TRIPWIRE
            )
        assert type(caught.value) in {
            DocumentError,
            MalformedError,
            UnsupportedSuiteError,
        }, at


def test_another_accounts_blob_is_refused_before_argon2() -> None:
    """Another account's keys, locked with the same passphrase, are not taken."""
    owner, other = Owner("owner"), Owner("other")

    refusal(
        DocumentError, lambda: open_with(owner, other.keys_blob(), profile=TRIPWIRE)
    )


def test_an_older_epochs_blob_is_refused_before_argon2() -> None:
    """After a rotation the old slot, which a revoked client may hold, is dead."""
    owner = Owner()
    old = owner.keys_blob(0)
    owner.sign(owner.next_epoch(), rotated=True)

    refusal(DocumentError, lambda: open_with(owner, old, profile=TRIPWIRE))
    assert open_with(owner, owner.keys_blob(1)) == owner.ring(1)


@pytest.mark.parametrize("changed", ["account_id", "epoch", "salt"])
def test_a_slot_sealed_for_another_place_does_not_open(changed: str) -> None:
    """Even in a blob that the owner signed, a slot opens in its place only."""
    owner = Owner()
    place = {"account_id": owner.account_id, "epoch": 0, "salt": owner.salt()}
    moved = {**place, changed: 1 if changed == "epoch" else fixed("other", 16)}
    blob = KeysBlob.decode(owner.keys_blob())
    slot = seal_passphrase_slot(
        kek(owner),
        owner.master(),
        random=Seeded("moved"),
        **moved,  # type: ignore[arg-type]
    )
    forged = replace(blob, passphrase_slot=slot).encode()
    name(owner, forged)

    refusal(WrongPassphraseError, lambda: open_with(owner, forged))


def test_a_slot_of_the_other_kind_does_not_open() -> None:
    """A recovery slot is no passphrase slot, with the same key and salt even."""
    owner = Owner()
    key = fixed("one key for both")
    slot = seal_recovery_slot(
        RecoveryKek(key),
        owner.master(),
        account_id=owner.account_id,
        epoch=0,
        random=Seeded("slot"),
    )

    refusal(
        SealError,
        lambda: open_passphrase_slot(
            PassphraseKek(key),
            slot,
            account_id=owner.account_id,
            epoch=0,
            salt=bytes(16),
        ),
    )


def test_another_master_key_wrapped_for_the_owner_is_refused() -> None:
    """The key that signs the document is pinned: no other may lie in the slot."""
    owner = Owner()
    blob = KeysBlob.decode(owner.keys_blob())
    forged = replace(
        blob,
        passphrase_slot=seal_passphrase_slot(
            kek(owner),
            MasterKey(fixed("the attacker's")),
            account_id=owner.account_id,
            epoch=0,
            salt=owner.salt(),
            random=Seeded("rewrapped"),
        ),
        ring=seal_ring(
            derive_ring_kek(MasterKey(fixed("the attacker's"))),
            owner.ring(),
            account_id=owner.account_id,
            epoch=0,
            salt=owner.salt(),
            random=Seeded("rewrapped"),
        ),
    ).encode()
    name(owner, forged)

    refusal(DocumentError, lambda: open_with(owner, forged))


@pytest.mark.parametrize("keys", [1, 3])
def test_a_ring_that_does_not_end_with_the_documents_epoch_is_refused(
    keys: int,
) -> None:
    """A ring that lacks an epoch, or brings one from the future, opens nothing."""
    owner = Owner()
    owner.sign(owner.next_epoch(), rotated=True)
    blob = KeysBlob.decode(owner.keys_blob(1))
    forged = replace(
        blob,
        ring=seal_ring(
            derive_ring_kek(owner.master(1)),
            owner.ring(keys - 1),
            account_id=owner.account_id,
            epoch=1,
            salt=owner.salt(1),
            random=Seeded("ring"),
        ),
    ).encode()
    name(owner, forged)

    refusal(EpochError, lambda: open_with(owner, forged))


def test_a_recovery_slot_without_a_recovery_login_is_refused() -> None:
    """The document says whether there is a recovery key; the blob must agree."""
    owner = Owner()
    blob = KeysBlob.decode(owner.keys_blob())
    forged = replace(blob, recovery_slot=blob.passphrase_slot).encode()
    name(owner, forged)

    refusal(DocumentError, lambda: open_with(owner, forged, profile=TRIPWIRE))


def test_a_blob_of_another_form_is_refused_before_argon2() -> None:
    """Truncated, extended and oversized blobs are refused by their form."""
    owner = Owner()
    blob = owner.keys_blob()
    forged = [blob[:size] for size in range(5, len(blob))]
    forged += [blob + b"\0", blob + bytes(1_000_000)]

    for data in forged:
        refusal(MalformedError, partial(open_with, owner, data, TRIPWIRE))


def test_a_document_cannot_be_given_the_blobs_hash_by_the_host() -> None:
    """Who cannot sign cannot name another blob."""
    owner = Owner()
    document: AccountDocument = owner.next(keys_blob_hash=fixed("forged"))
    forged = document.sign(Owner("attacker").ask())
    before = owner.verified()

    refusal(SignatureError, lambda: before.extended_by([forged]))

    assert before.pin == owner.verified().pin
