"""T36: a generator that repeats, as after restoring a machine image."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awserver.records import ZERO_HASH, SealedRecord, Seq
from awvault.crypto import labels
from awvault.crypto.committing import seal_parts
from awvault.crypto.envelope import seal_record
from awvault.crypto.keys import (
    BootKey,
    ClientKey,
    EpochKey,
    JournalKey,
    MasterKey,
    Passphrase,
    PassphraseKey,
    RecoveryKey,
    new_key,
)
from awvault.crypto.rows import NONCE_BYTES, seal_row
from awvault.protocol.account import (
    NewAccount,
    create_account,
    open_account,
    open_keystore,
    verify_documents,
)
from tests.helpers.owners import CHEAP, Owner
from tests.helpers.randomness import fixed, repeating

OWNER = Owner()
KEY = fixed("key")

contents = st.tuples(
    st.sampled_from([labels.RING, labels.KEYSTORE, labels.RECORD_SEAL]),
    st.binary(max_size=40),
    st.binary(max_size=40),
)


@settings(deadline=None, max_examples=200)
@given(contents, contents)
def test_other_content_gets_another_salt(
    one: tuple[labels.Label, bytes, bytes], two: tuple[labels.Label, bytes, bytes]
) -> None:
    """Salts are equal exactly where label, context and plaintext all are."""
    first = seal_parts(KEY, *one, repeating)
    second = seal_parts(KEY, *two, repeating)

    assert (first.salt == second.salt) is (one == two)
    assert (first.commitment == second.commitment) is (one == two)


@settings(deadline=None, max_examples=200)
@given(
    st.tuples(st.binary(max_size=40), st.binary(max_size=40)),
    st.tuples(st.binary(max_size=40), st.binary(max_size=40)),
)
def test_another_row_gets_another_nonce(
    one: tuple[bytes, bytes], two: tuple[bytes, bytes]
) -> None:
    """Nonces are equal exactly where context and plaintext both are."""
    key = BootKey(fixed("boot"))
    first = seal_row(key, *one, repeating)[:NONCE_BYTES]
    second = seal_row(key, *two, repeating)[:NONCE_BYTES]

    assert (first == second) is (one == two)


def test_two_clones_that_seal_different_events_share_no_key() -> None:
    """The same client at the same place, twice: other events, other salt."""

    def seal(plaintext: bytes) -> SealedRecord:
        return seal_record(
            OWNER.epoch_key(),
            OWNER.client_keys[0],
            account_id=OWNER.account_id,
            client_id=OWNER.client_id(),
            epoch=0,
            seq=Seq(0),
            prev=ZERO_HASH,
            plaintext=plaintext,
            random=repeating,
        )

    one, two, again = seal(b"a" * 512), seal(b"b" * 512), seal(b"a" * 512)

    assert one.header.salt != two.header.salt
    assert one.header.commitment != two.header.commitment
    assert one.encode() == again.encode()
    assert one.body is not None
    assert two.body is not None
    mixed = bytes(a ^ b for a, b in zip(one.body, two.body, strict=True))
    assert mixed[:512] != bytes([ord("a") ^ ord("b")]) * 512


def test_every_seal_of_a_long_log_has_a_salt_of_its_own() -> None:
    """The same plaintext at each seq, from one generator state: no salt repeats."""
    owner = Owner()
    owner.random = repeating  # type: ignore[assignment]

    records = owner.records(*[bytes(512)] * 50)

    assert len({record.header.salt for record in records}) == 50
    assert len({record.header.commitment for record in records}) == 50
    assert len({record.body for record in records}) == 50


@pytest.mark.parametrize(
    "kind", [MasterKey, EpochKey, ClientKey, JournalKey, RecoveryKey]
)
def test_a_new_key_depends_on_its_owner_and_its_place(
    kind: type[MasterKey | EpochKey | ClientKey | JournalKey | RecoveryKey],
) -> None:
    """Two owners whose machines draw the same bytes get different keys."""
    mine, theirs = PassphraseKey(bytes(64)), PassphraseKey(b"\1" * 64)

    keys = [
        new_key(kind, owner, context=context, random=repeating).reveal()
        for owner in (mine, theirs)
        for context in (b"here", b"there")
    ]

    assert len(set(keys)) == 4


def test_the_keys_of_one_owner_differ_from_each_other() -> None:
    """One generator state, five kinds of keys: five keys."""
    owner = PassphraseKey(bytes(64))
    kinds = [MasterKey, EpochKey, ClientKey, JournalKey, RecoveryKey]

    keys = {
        new_key(kind, owner, context=b"", random=repeating).reveal() for kind in kinds
    }

    assert len(keys) == 5


def test_two_accounts_made_from_one_image_share_nothing() -> None:
    """Two people restore one image and each make a vault: no key is the same."""
    one, two = (_create(text) for text in ("first passphrase", "second passphrase"))

    assert one.account_id != two.account_id
    assert one.client_id != two.client_id
    assert one.keys_blob != two.keys_blob
    secrets = [_secrets(one, "first passphrase"), _secrets(two, "second passphrase")]
    assert not secrets[0] & secrets[1]


def _create(passphrase: str) -> NewAccount:
    return create_account(
        Passphrase(passphrase),
        username="local",
        client_label="laptop",
        profile=CHEAP,
        random=repeating,
    )


def _secrets(new: NewAccount, passphrase: str) -> set[bytes]:
    account = verify_documents(new.account_id, [new.document])
    ring = open_account(Passphrase(passphrase), account, new.keys_blob, profile=CHEAP)
    store = open_keystore(ring[0], new.account_id, new.client_id, new.keystore)
    return {
        ring[0].reveal(),
        store.client_key.reveal(),
        store.journal_key.reveal(),
    }


def test_a_generator_that_gives_too_little_is_refused() -> None:
    """Fewer random bytes than asked for are not filled up in silence."""
    with pytest.raises(ValueError, match="asked for 32 random bytes, got 31"):
        seal_parts(KEY, labels.RING, b"", b"", lambda size: bytes(size - 1))
