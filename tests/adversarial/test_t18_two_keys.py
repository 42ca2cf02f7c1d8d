"""T18: one ciphertext that opens under two keys."""

import pytest
from nacl import bindings

from awserver.records import H0_BYTES, hash_body
from awvault.crypto import labels
from awvault.crypto.committing import Sealed, open_parts
from awvault.crypto.hashing import derive, hash_bytes
from awvault.crypto.keys import PassphraseKek
from awvault.crypto.slots import open_passphrase_slot
from awvault.errors import SealError
from tests.helpers.collisions import collide
from tests.helpers.owners import Owner, resign
from tests.helpers.randomness import fixed
from tests.helpers.refusals import refusal, refuse_record

SALT = fixed("salt", 24)
CONTEXT = b"one place"


def key_and_commitment(
    key: bytes, label: labels.Label, context: bytes, salt: bytes
) -> tuple[bytes, bytes]:
    """Return what the formula of docs/protocol/keys.md gives."""
    data = salt + hash_bytes(labels.CONTEXT, context)
    both = derive(key, label, data, size=64)
    return both[:32], both[32:]


def opens(ciphertext: bytes, aad: bytes, key: bytes) -> bool:
    """Say whether XChaCha20-Poly1305 alone opens it."""
    return bool(
        bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            ciphertext, aad, bytes(24), key
        )
    )


def forge(
    right: bytes, other: bytes, label: labels.Label, context: bytes, *, blocks: int
) -> Sealed:
    """Return a seal that commits to `right`, and whose AEAD opens under both."""
    first, commitment = key_and_commitment(right, label, context, SALT)
    second, _ = key_and_commitment(other, label, context, SALT)
    aad = context + SALT + commitment
    ciphertext = collide((first, second), bytes(24), aad, blocks=blocks)
    assert opens(ciphertext, aad, first)
    assert opens(ciphertext, aad, second)
    return Sealed(salt=SALT, commitment=commitment, ciphertext=ciphertext)


@pytest.mark.parametrize(
    "label",
    [labels.SLOT_PASSPHRASE, labels.RING, labels.KEYSTORE, labels.RECORD_SEAL],
    ids=bytes.decode,
)
def test_a_seal_opens_under_the_committed_key_only(label: labels.Label) -> None:
    """The AEAD opens under both keys, the seal under the one it commits to.

    The refusal is the one that garbage gets.
    """
    right, other = fixed("right key"), fixed("other key")
    forged = forge(right, other, label, CONTEXT, blocks=4)
    garbage = Sealed(salt=SALT, commitment=fixed("garbage"), ciphertext=bytes(80))

    assert len(open_parts(right, label, CONTEXT, forged)) == 64
    error = refusal(SealError, lambda: open_parts(other, label, CONTEXT, forged))
    same = refusal(SealError, lambda: open_parts(other, label, CONTEXT, garbage))
    assert error.args == same.args


def test_a_slot_does_not_tell_which_of_two_passphrases_is_right() -> None:
    """A slot made for two guesses opens under one of them, and no third answer."""
    owner = Owner()
    right, other = PassphraseKek(fixed("guess 1")), PassphraseKek(fixed("guess 2"))
    context = owner.account_id + b"\1" + bytes(4) + owner.salt()
    slot = forge(
        right.reveal(), other.reveal(), labels.SLOT_PASSPHRASE, context, blocks=2
    ).encode()

    def open_with(kek: PassphraseKek) -> object:
        return open_passphrase_slot(
            kek, slot, account_id=owner.account_id, epoch=0, salt=owner.salt()
        )

    open_with(right)
    refusal(SealError, lambda: open_with(other))


def test_a_record_opens_under_one_epoch_key() -> None:
    """A record sealed by a faulty client for two epoch keys shows one content.

    Two readers whose rings differ cannot be shown different events.
    """
    owner = Owner()
    record = owner.record(bytes(512))
    h0 = record.header_bytes[:H0_BYTES]
    forged = forge(
        owner.epoch_key(0).reveal(),
        owner.epoch_key(1).reveal(),
        labels.RECORD_SEAL,
        h0,
        blocks=32,
    )
    signed = resign(
        owner.client_keys[0],
        record,
        body=forged.ciphertext,
        salt=forged.salt,
        commitment=forged.commitment,
    )
    assert signed.header.body_hash == hash_body(forged.ciphertext)
    log = owner.log()
    log.ring = {0: owner.epoch_key(1)}

    refuse_record(SealError, log, signed)
    assert len(owner.log().accept(signed) or b"") == 512
