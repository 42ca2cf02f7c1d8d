"""The master key in its two slots."""

from functools import partial
from typing import Final

from awserver.records import AccountId
from awvault.crypto import labels
from awvault.crypto.keys import MasterKey, PassphraseKek, RecoveryKek
from awvault.crypto.slots import (
    open_passphrase_slot,
    open_recovery_slot,
    seal_passphrase_slot,
    seal_recovery_slot,
)
from tests.helpers.randomness import fixed
from tests.vectors.form import Fields, attempt, require_keys, same, unhex
from tests.vectors.kinds.seals import BETWEEN, between, for_two_keys, spoiled

NAME = "slots"

_KEK: Final = fixed("slot kek")
_ACCOUNT: Final = AccountId(fixed("slot account", 16))
_SALT: Final = fixed("slot salt", 16)
_MASTER: Final = MasterKey(fixed("slot master"))
_RANDOM: Final = fixed("slot random")


def _context(kind: int, salt: bytes) -> bytes:
    return _ACCOUNT + bytes([kind]) + (3).to_bytes(4, "little") + salt


def make() -> dict[str, Fields]:
    slot = seal_passphrase_slot(
        PassphraseKek(_KEK),
        _MASTER,
        account_id=_ACCOUNT,
        epoch=3,
        salt=_SALT,
        random=lambda _: _RANDOM,
    )
    recovery = seal_recovery_slot(
        RecoveryKek(_KEK),
        _MASTER,
        account_id=_ACCOUNT,
        epoch=3,
        random=lambda _: _RANDOM,
    )
    vectors = {
        "success": _success("passphrase", labels.SLOT_PASSPHRASE, _SALT, slot),
        "success_recovery": _success(
            "recovery", labels.SLOT_RECOVERY, bytes(16), recovery
        ),
    }
    for name, comment, data in spoiled(slot):
        vectors[name] = _failure(comment, data)
    vectors["wrong_key"] = _failure(
        "another key of the passphrase", slot, kek=fixed("other kek").hex()
    )
    vectors["other_account"] = _failure(
        "of another account", slot, **{"account id": fixed("other", 16).hex()}
    )
    vectors["other_epoch"] = _failure("of another epoch", slot, epoch="4")
    vectors["other_salt"] = _failure(
        "beside another salt", slot, salt=fixed("other", 16).hex()
    )
    vectors["recovery_as_passphrase"] = _failure(
        "a recovery slot where a passphrase slot is due", recovery, salt=bytes(16).hex()
    )
    vectors["passphrase_as_recovery"] = _failure(
        "a passphrase slot where a recovery slot is due", slot, kind="recovery"
    )
    other = fixed("second kek")
    double = for_two_keys(
        _KEK, other, labels.SLOT_PASSPHRASE, _context(1, _SALT), fixed("d", 24), 2
    )
    vectors["two_keys_other"] = _failure(
        "the AEAD opens under this key too, the seal commits to another",
        double,
        kek=other.hex(),
    )
    vectors["two_keys_committed"] = {
        **_failure("the same slot under the key it commits to", double),
        "expect": "success",
        "master key": _open("passphrase", _KEK, _ACCOUNT, 3, _SALT, double)
        .reveal()
        .hex(),
    }
    return vectors


def check(fields: Fields) -> None:
    require_keys(
        fields,
        {"kind", "kek", "account id", "epoch", "salt", "slot"},
        {"master key", "context", *BETWEEN},
    )
    key, account, salt = (unhex(fields, name) for name in ("kek", "account id", "salt"))
    slot, epoch = unhex(fields, "slot"), int(fields["epoch"])
    kind = fields["kind"]

    master = attempt(
        fields, partial(_open, kind, key, AccountId(account), epoch, salt, slot)
    )

    if master is None:
        return
    assert master.reveal() == unhex(fields, "master key")
    if "context" in fields:
        label = labels.SLOT_PASSPHRASE if kind == "passphrase" else labels.SLOT_RECOVERY
        context = unhex(fields, "context")
        random = unhex(fields, "random")
        same(fields, between(key, label, context, master.reveal(), random, slot))


def _open(
    kind: str, key: bytes, account: AccountId, epoch: int, salt: bytes, slot: bytes
) -> MasterKey:
    if kind == "passphrase":
        return open_passphrase_slot(
            PassphraseKek(key), slot, account_id=account, epoch=epoch, salt=salt
        )
    assert kind == "recovery", kind
    assert salt == bytes(16), "a recovery slot is bound to no salt"
    return open_recovery_slot(RecoveryKek(key), slot, account_id=account, epoch=epoch)


def _success(kind: str, label: labels.Label, salt: bytes, slot: bytes) -> Fields:
    context = _context(1 if kind == "passphrase" else 2, salt)
    values = between(_KEK, label, context, _MASTER.reveal(), _RANDOM, slot)
    return {
        "expect": "success",
        "comment": f"a {kind} slot, with the values in between",
        "kind": kind,
        "kek": _KEK.hex(),
        "account id": _ACCOUNT.hex(),
        "epoch": "3",
        "salt": salt.hex(),
        "master key": _MASTER.reveal().hex(),
        "random": _RANDOM.hex(),
        "context": context.hex(),
        **{key: value.hex() for key, value in values.items()},
        "slot": slot.hex(),
    }


def _failure(comment: str, slot: bytes, **changes: str) -> Fields:
    fields = {
        "expect": "seal failure",
        "comment": comment,
        "kind": "passphrase",
        "kek": _KEK.hex(),
        "account id": _ACCOUNT.hex(),
        "epoch": "3",
        "salt": _SALT.hex(),
        "slot": slot.hex(),
        **changes,
    }
    if fields["kind"] == "recovery":
        fields["salt"] = bytes(16).hex()
    return fields
