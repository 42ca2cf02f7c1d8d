"""T19: telling one failed seal from another."""

import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from awvault.crypto import labels
from awvault.crypto.committing import Sealed, open_parts, open_sealed, seal, seal_parts
from awvault.crypto.keys import BootKey, Passphrase, PassphraseKek
from awvault.crypto.rows import open_row, seal_row
from awvault.crypto.slots import open_passphrase_slot, seal_passphrase_slot
from awvault.errors import SealError, WrongPassphraseError
from awvault.protocol.account import open_account
from tests.helpers.owners import CHEAP, Owner
from tests.helpers.randomness import Seeded, fixed
from tests.helpers.refusals import refusal

KEY = fixed("key")
LABEL = labels.KEYSTORE
CONTEXT = b"context"


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def fingerprint(error: BaseException) -> tuple[object, ...]:
    """Return all that code which catches an error can see of it."""
    return (
        type(error),
        error.args,
        str(error),
        error.__cause__,
        error.__context__,
        getattr(error, "__notes__", None),
        [
            (frame.filename, frame.name, frame.lineno)
            for frame in traceback.extract_tb(error.__traceback__)
            if "/awvault/" in frame.filename
        ],
    )


def all_same(attempts: Iterator[Callable[[], object]]) -> None:
    seen = [fingerprint(refusal(SealError, attempt)) for attempt in attempts]
    assert len(seen) > 3
    assert all(one == seen[0] for one in seen), seen
    assert seen[0][4] is None


def test_a_committing_seal_fails_in_one_way() -> None:
    """Commitment, tag, salt, key, context, label, length: one and the same error."""
    sealed = seal_parts(KEY, LABEL, CONTEXT, b"content", Seeded("seal"))

    def attempts() -> Iterator[Callable[[], object]]:
        for key, label, context, parts in [
            (KEY, LABEL, CONTEXT, replace(sealed, commitment=bytes(32))),
            (KEY, LABEL, CONTEXT, replace(sealed, commitment=b"")),
            (KEY, LABEL, CONTEXT, replace(sealed, salt=bytes(24))),
            (KEY, LABEL, CONTEXT, replace(sealed, salt=b"")),
            (KEY, LABEL, CONTEXT, _ciphertext(sealed, flip(sealed.ciphertext, 0))),
            (
                KEY,
                LABEL,
                CONTEXT,
                _ciphertext(sealed, flip(sealed.ciphertext, -1 % 23)),
            ),
            (KEY, LABEL, CONTEXT, _ciphertext(sealed, sealed.ciphertext[:-1])),
            (KEY, LABEL, CONTEXT, _ciphertext(sealed, b"")),
            (fixed("other key"), LABEL, CONTEXT, sealed),
            (KEY, labels.RING, CONTEXT, sealed),
            (KEY, LABEL, b"other context", sealed),
        ]:
            yield partial(open_parts, key, label, context, parts)

    all_same(attempts())


def _ciphertext(sealed: Sealed, ciphertext: bytes) -> Sealed:
    return replace(sealed, ciphertext=ciphertext)


def test_every_length_of_a_seal_fails_in_one_way() -> None:
    """Where a seal was cut is not told."""
    sealed = seal(KEY, LABEL, CONTEXT, b"content", Seeded("seal"))

    all_same(
        partial(open_sealed, KEY, LABEL, CONTEXT, sealed[:size])
        for size in range(len(sealed))
    )


def test_a_row_fails_in_one_way() -> None:
    """Nonce, tag, content, key, context, length: one and the same error."""
    key = BootKey(fixed("boot"))
    sealed = seal_row(key, CONTEXT, b"content", Seeded("row"))

    def attempts() -> Iterator[Callable[[], object]]:
        for size in range(len(sealed)):
            yield partial(open_row, key, CONTEXT, sealed[:size])
        for at in range(len(sealed)):
            yield partial(open_row, key, CONTEXT, flip(sealed, at))
        yield lambda: open_row(key, b"other", sealed)
        yield lambda: open_row(BootKey(fixed("other")), CONTEXT, sealed)

    all_same(attempts())


def test_a_slot_fails_in_one_way() -> None:
    """A wrong passphrase, an altered slot and a slot from elsewhere look the same."""
    owner = Owner()
    kek = PassphraseKek(fixed("kek"))
    place: dict[str, Any] = {
        "account_id": owner.account_id,
        "epoch": 0,
        "salt": owner.salt(),
    }
    slot = seal_passphrase_slot(
        kek,
        owner.master(),
        account_id=owner.account_id,
        epoch=0,
        salt=owner.salt(),
        random=Seeded("slot"),
    )

    def attempts() -> Iterator[Callable[[], object]]:
        cases: list[tuple[PassphraseKek, bytes, dict[str, Any]]] = [
            (PassphraseKek(fixed("other")), slot, {}),
            (kek, flip(slot, 0), {}),
            (kek, flip(slot, 30), {}),
            (kek, flip(slot, 60), {}),
            (kek, slot[:-1], {}),
            (kek, slot, {"epoch": 1}),
            (kek, slot, {"salt": bytes(16)}),
        ]
        for key, data, changed in cases:
            yield partial(open_passphrase_slot, key, data, **{**place, **changed})

    all_same(attempts())


@pytest.mark.parametrize("typed", ["wrong", "correct horse battery stapl"])
def test_a_wrong_passphrase_has_one_error(typed: str) -> None:
    """How wrong a passphrase is, is not told."""
    owner = Owner(passphrase="right")

    error = refusal(
        WrongPassphraseError,
        lambda: open_account(
            Passphrase(typed), owner.verified(), owner.keys_blob(), profile=CHEAP
        ),
    )

    assert str(error) == "this passphrase does not open the vault"
    assert error.__cause__ is None
    assert isinstance(error.__context__, SealError)
    assert error.__context__.__context__ is None
