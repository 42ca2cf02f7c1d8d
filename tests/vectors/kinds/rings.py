"""The sealed ring of epoch keys."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from awserver.records import AccountId
from awvault.crypto import labels
from awvault.crypto.committing import seal
from awvault.crypto.keys import RingKek
from awvault.crypto.slots import open_ring
from tests.helpers.randomness import fixed
from tests.vectors.form import Fields, attempt, require_keys, same, unhex
from tests.vectors.kinds.seals import BETWEEN, between, spoiled

NAME = "rings"

_KEK: Final = fixed("ring kek")
_ACCOUNT: Final = AccountId(fixed("ring account", 16))
_SALT: Final = fixed("ring salt", 16)
_RANDOM: Final = fixed("ring random")


def _entry(label: int, key: int) -> bytes:
    return label.to_bytes(4, "little") + fixed(f"ring epoch {key}")


def _plaintext(*epochs: int) -> bytes:
    entries = b"".join(_entry(epoch, epoch) for epoch in epochs)
    return len(epochs).to_bytes(4, "little") + entries


def _seal(plaintext: bytes, *, epoch: int) -> bytes:
    return seal(_KEK, labels.RING, _context(epoch), plaintext, lambda _: _RANDOM)


def _context(epoch: int) -> bytes:
    return _ACCOUNT + b"\3" + epoch.to_bytes(4, "little") + _SALT


def make() -> dict[str, Fields]:
    vectors = {
        "success": _success([0]),
        "success_three": _success([0, 1, 2]),
    }
    good = _seal(_plaintext(0, 1, 2), epoch=2)
    for name, comment, data in spoiled(good):
        vectors[name] = _failure("seal failure", comment, data)
    vectors["wrong_key"] = _failure(
        "seal failure", "another master key's", good, kek=fixed("other").hex()
    )
    vectors["other_account"] = _failure(
        "seal failure", "of another account", good, account=fixed("other", 16).hex()
    )
    vectors["other_epoch"] = _failure(
        "seal failure", "of another epoch", good, epoch="1"
    )
    vectors["other_salt"] = _failure(
        "seal failure", "beside another salt", good, salt=fixed("other", 16).hex()
    )
    for name, expect, comment, plaintext in [
        ("missing_newest", "epoch failure", "epochs 0 and 1 of 2", _plaintext(0, 1)),
        ("missing_oldest", "epoch failure", "epochs 1 and 2 of 2", _plaintext(1, 2)),
        ("future", "epoch failure", "epochs 0 to 3 of 2", _plaintext(0, 1, 2, 3)),
        ("reordered", "epoch failure", "epochs 0, 2, 1", _plaintext(0, 2, 1)),
        ("duplicated", "epoch failure", "epochs 0, 1, 1", _plaintext(0, 1, 1)),
        ("no_epochs", "malformed", "a count of 0", _plaintext()),
        (
            "count_too_large",
            "malformed",
            "a count of 4, and three keys",
            b"\4" + _plaintext(0, 1, 2)[1:],
        ),
        (
            "count_huge",
            "malformed",
            "a count of 2^32 - 1",
            b"\xff" * 4 + _plaintext(0, 1, 2)[4:],
        ),
        (
            "inner_truncated",
            "malformed",
            "the last key is cut",
            _plaintext(0, 1, 2)[:-1],
        ),
        (
            "inner_extended",
            "malformed",
            "one byte too many behind the last key",
            _plaintext(0, 1, 2) + b"\0",
        ),
        ("inner_empty", "malformed", "nothing inside a good seal", b""),
    ]:
        vectors[name] = _failure(expect, comment, _seal(plaintext, epoch=2))
    return vectors


def check(fields: Fields) -> None:
    require_keys(
        fields,
        {"kek", "account id", "epoch", "salt", "sealed"},
        {"ring", "plaintext", "context", *BETWEEN},
    )
    sealed = unhex(fields, "sealed")
    key = unhex(fields, "kek")

    ring = attempt(
        fields,
        partial(
            open_ring,
            RingKek(key),
            sealed,
            account_id=AccountId(unhex(fields, "account id")),
            epoch=int(fields["epoch"]),
            salt=unhex(fields, "salt"),
        ),
    )

    if ring is None:
        return
    keys = b"".join(ring[epoch].reveal() for epoch in range(len(ring)))
    assert keys == unhex(fields, "ring")
    plaintext, context = unhex(fields, "plaintext"), unhex(fields, "context")
    random = unhex(fields, "random")
    same(fields, between(key, labels.RING, context, plaintext, random, sealed))


def _success(epochs: Sequence[int]) -> Fields:
    plaintext, context = _plaintext(*epochs), _context(epochs[-1])
    sealed = _seal(plaintext, epoch=epochs[-1])
    values = between(_KEK, labels.RING, context, plaintext, _RANDOM, sealed)
    return {
        "expect": "success",
        "comment": f"a ring up to epoch {epochs[-1]}, with the values in between",
        "kek": _KEK.hex(),
        "account id": _ACCOUNT.hex(),
        "epoch": str(epochs[-1]),
        "salt": _SALT.hex(),
        "ring": b"".join(fixed(f"ring epoch {epoch}") for epoch in epochs).hex(),
        "plaintext": plaintext.hex(),
        "random": _RANDOM.hex(),
        "context": context.hex(),
        **{key: value.hex() for key, value in values.items()},
        "sealed": sealed.hex(),
    }


def _failure(
    expect: str,
    comment: str,
    sealed: bytes,
    *,
    kek: str = _KEK.hex(),
    account: str = _ACCOUNT.hex(),
    epoch: str = "2",
    salt: str = _SALT.hex(),
) -> Fields:
    return {
        "expect": expect,
        "comment": comment,
        "kek": kek,
        "account id": account,
        "epoch": epoch,
        "salt": salt,
        "sealed": sealed.hex(),
    }
