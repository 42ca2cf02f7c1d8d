"""One client's keystore."""

from functools import partial
from typing import Final

from awserver.records import AccountId, ClientId
from awvault.crypto import labels
from awvault.crypto.committing import seal
from awvault.crypto.keys import ClientKey, EpochKey, derive_local_key
from awvault.protocol.account import open_keystore
from tests.helpers.randomness import fixed
from tests.vectors.form import Fields, attempt, require_keys, same, unhex
from tests.vectors.kinds.seals import BETWEEN, between, spoiled

NAME = "keystores"

_EPOCH: Final = EpochKey(fixed("keystore epoch 1"))
_ACCOUNT: Final = AccountId(fixed("keystore account", 16))
_CLIENT: Final = ClientKey(fixed("keystore client"))
_RANDOM: Final = fixed("keystore random")
_RING: Final = fixed("keystore epoch 0") + _EPOCH.reveal()
_LOCAL: Final = derive_local_key(_EPOCH, _CLIENT.client_id).reveal()


def _plaintext(
    *, version: int = 1, number: int = 7, client: ClientKey = _CLIENT, epoch: int = 1
) -> bytes:
    return b"".join(
        (
            bytes([version]),
            number.to_bytes(2, "little"),
            client.reveal(),
            fixed("keystore journal"),
            (5).to_bytes(8, "little"),
            fixed("keystore pin"),
            (2).to_bytes(4, "little"),
            (0).to_bytes(4, "little") + _RING[:32],
            epoch.to_bytes(4, "little") + _RING[32:],
        )
    )


def _seal(plaintext: bytes) -> bytes:
    context = _ACCOUNT + _CLIENT.client_id
    return seal(_LOCAL, labels.KEYSTORE, context, plaintext, lambda _: _RANDOM)


def make() -> dict[str, Fields]:
    good = _seal(_plaintext())
    context = _ACCOUNT + _CLIENT.client_id
    values = between(_LOCAL, labels.KEYSTORE, context, _plaintext(), _RANDOM, good)
    success = _failure("", "", good)
    sealed = success.pop("sealed")
    vectors = {
        "success": {
            **success,
            "expect": "success",
            "comment": "a keystore of two epochs, with the values in between",
            "client number": "7",
            "client seed": _CLIENT.reveal().hex(),
            "journal key": fixed("keystore journal").hex(),
            "pin version": "5",
            "pin hash": fixed("keystore pin").hex(),
            "ring": _RING.hex(),
            "plaintext": _plaintext().hex(),
            "random": _RANDOM.hex(),
            "local key": _LOCAL.hex(),
            "context": context.hex(),
            **{key: value.hex() for key, value in values.items()},
            "sealed": sealed,
        }
    }
    for name, comment, data in spoiled(good):
        vectors[name] = _failure("seal failure", comment, data)
    other = fixed("other", 16).hex()
    vectors["wrong_key"] = {
        **_failure("seal failure", "under another epoch key", good),
        "epoch key": fixed("other").hex(),
    }
    vectors["other_account"] = {
        **_failure("seal failure", "of another account", good),
        "account id": other,
    }
    vectors["other_client"] = {
        **_failure("seal failure", "of another client", good),
        "client id": other,
    }
    for name, expect, comment, plaintext in [
        ("newer", "unsupported suite", "version 2", _plaintext(version=2)),
        ("inner_empty", "unsupported suite", "nothing inside a good seal", b""),
        ("inner_truncated", "malformed", "cut in the pin", _plaintext()[:100]),
        ("ring_truncated", "malformed", "the last key is cut", _plaintext()[:-1]),
        ("ring_extended", "malformed", "one byte too many", _plaintext() + b"\0"),
        ("ring_gap", "epoch failure", "epochs 0 and 2", _plaintext(epoch=2)),
        (
            "of_another_key",
            "malformed",
            "the client key inside is not that of the client id",
            _plaintext(client=ClientKey(fixed("other client"))),
        ),
        (
            "number_too_large",
            "malformed",
            "client number 8192",
            _plaintext(number=8192),
        ),
    ]:
        vectors[name] = _failure(expect, comment, _seal(plaintext))
    return vectors


def check(fields: Fields) -> None:
    details = {
        "client number",
        "client seed",
        "journal key",
        "pin version",
        "pin hash",
        "ring",
        "plaintext",
        "local key",
        "context",
    }
    require_keys(
        fields, {"epoch key", "account id", "client id", "sealed"}, details | BETWEEN
    )
    epoch_key = EpochKey(unhex(fields, "epoch key"))
    sealed = unhex(fields, "sealed")

    keystore = attempt(
        fields,
        partial(
            open_keystore,
            epoch_key,
            AccountId(unhex(fields, "account id")),
            ClientId(unhex(fields, "client id")),
            sealed,
        ),
    )

    if keystore is None:
        return
    assert details <= fields.keys()
    assert keystore.client_number == int(fields["client number"])
    assert keystore.pin[0] == int(fields["pin version"])
    key = unhex(fields, "local key")
    same(
        fields,
        {
            "client seed": keystore.client_key.reveal(),
            "journal key": keystore.journal_key.reveal(),
            "pin hash": keystore.pin[1],
            "ring": b"".join(keystore.ring[n].reveal() for n in keystore.ring),
            **between(
                key,
                labels.KEYSTORE,
                unhex(fields, "context"),
                unhex(fields, "plaintext"),
                unhex(fields, "random"),
                sealed,
            ),
        },
    )


def _failure(expect: str, comment: str, sealed: bytes) -> Fields:
    return {
        "expect": expect,
        "comment": comment,
        "epoch key": _EPOCH.reveal().hex(),
        "account id": _ACCOUNT.hex(),
        "client id": _CLIENT.client_id.hex(),
        "sealed": sealed.hex(),
    }
