"""Rows of the journal and of the index cache, and clients' labels."""

from functools import partial
from typing import Final

from awserver.records import AccountId, ClientId
from awvault.crypto import labels
from awvault.crypto.hashing import derive, hash_bytes
from awvault.crypto.keys import BootKey, EpochKey, IndexKey
from awvault.crypto.rows import open_row, seal_row
from awvault.crypto.slots import open_client_label, seal_client_label
from tests.helpers.randomness import fixed
from tests.vectors.form import Fields, attempt, require_keys, same, unhex
from tests.vectors.kinds.seals import flip

NAME = "rows"

_KEY: Final = fixed("row key")
_RANDOM: Final = fixed("row random")
_CONTEXT: Final = (
    fixed("row client", 16)
    + (7).to_bytes(8, "little")  # the row
    + (3).to_bytes(8, "little")  # the write
)
_RECORD: Final = fixed("row record hash")
_PLAINTEXT: Final = b"one row of the journal"
_ACCOUNT: Final = AccountId(fixed("label account", 16))
_CLIENT: Final = ClientId(fixed("label client", 16))


def make() -> dict[str, Fields]:
    sealed = seal_row(BootKey(_KEY), _CONTEXT, _PLAINTEXT, lambda _: _RANDOM)
    index = seal_row(IndexKey(_KEY), _RECORD, _PLAINTEXT, lambda _: _RANDOM)
    vectors = {
        "success": _success("a row of the journal", _CONTEXT, sealed),
        "success_index": _success("a row of the index cache", _RECORD, index),
    }
    for name, comment, data in [
        ("flip_nonce", "the first bit of the nonce is flipped", flip(sealed, 0)),
        ("flip_ciphertext", "the first bit of the content", flip(sealed, 24)),
        ("flip_tag", "the last byte of the tag", flip(sealed, len(sealed) - 1)),
        ("truncated", "the last byte is missing", sealed[:-1]),
        ("extended", "one byte too many", sealed + b"\0"),
        ("shorter_than_its_frame", "39 bytes, one less than the least", sealed[:39]),
        ("empty", "no bytes at all", b""),
    ]:
        vectors[name] = _failure(comment, data)
    vectors["wrong_key"] = _failure("another start's key", sealed, key=fixed("other"))
    vectors["other_row"] = _failure(
        "moved to another row", sealed, context=flip(_CONTEXT, 16)
    )
    vectors["older_write"] = _failure(
        "given as another write of the same row", sealed, context=flip(_CONTEXT, 24)
    )
    vectors["other_client"] = _failure(
        "given as another client's", sealed, context=flip(_CONTEXT, 0)
    )
    return vectors | _labels()


def check(fields: Fields) -> None:
    if "text" in fields or "epoch key" in fields:
        _check_label(fields)
        return
    values = {"random", "context hash", "plaintext hash", "nonce"}
    require_keys(fields, {"key", "context", "sealed"}, {"plaintext", *values})
    key, context = unhex(fields, "key"), unhex(fields, "context")
    sealed = unhex(fields, "sealed")

    opened = attempt(fields, partial(open_row, BootKey(key), context, sealed))

    if opened is None:
        return
    assert open_row(IndexKey(key), context, sealed) == opened
    assert opened == unhex(fields, "plaintext")
    assert values <= fields.keys()
    same(fields, _between(context))


def _between(context: bytes) -> dict[str, bytes]:
    context_hash = hash_bytes(labels.CONTEXT, context)
    plaintext_hash = hash_bytes(labels.PLAINTEXT, _PLAINTEXT)
    data = _RANDOM + context_hash + plaintext_hash
    return {
        "context hash": context_hash,
        "plaintext hash": plaintext_hash,
        "nonce": derive(_KEY, labels.ROW_NONCE, data, size=24),
    }


def _success(comment: str, context: bytes, sealed: bytes) -> Fields:
    return {
        "expect": "success",
        "comment": f"{comment}, with the values in between",
        "key": _KEY.hex(),
        "context": context.hex(),
        "plaintext": _PLAINTEXT.hex(),
        "random": _RANDOM.hex(),
        **{key: value.hex() for key, value in _between(context).items()},
        "sealed": sealed.hex(),
    }


def _failure(
    comment: str, sealed: bytes, *, key: bytes = _KEY, context: bytes = _CONTEXT
) -> Fields:
    return {
        "expect": "seal failure",
        "comment": comment,
        "key": key.hex(),
        "context": context.hex(),
        "sealed": sealed.hex(),
    }


def _labels() -> dict[str, Fields]:
    key = EpochKey(fixed("label epoch"))

    def fields(comment: str, text: str | None, sealed: bytes) -> Fields:
        ends = {"sealed": sealed.hex()} | ({} if text is None else {"text": text})
        return {
            "expect": "seal failure" if text is None else "success",
            "comment": comment,
            "epoch key": key.reveal().hex(),
            "account id": _ACCOUNT.hex(),
            "client id": _CLIENT.hex(),
            **ends,
        }

    def seal(text: str) -> bytes:
        return seal_client_label(
            key,
            text,
            account_id=_ACCOUNT,
            client_id=_CLIENT,
            random=lambda _: _RANDOM,
        )

    long = "\u00e9" * 64
    good = seal("laptop")
    return {
        "label_success": fields("a client's label", "laptop", good),
        "label_cut": fields(
            "64 letters of two bytes are cut to 63", long[:63], seal(long)
        ),
        "label_flip_tag": fields("the tag is flipped", None, flip(good, 199)),
        "label_other_client": {
            **fields("of another client", None, good),
            "client id": fixed("other", 16).hex(),
        },
    }


def _check_label(fields: Fields) -> None:
    require_keys(fields, {"epoch key", "account id", "client id", "sealed"}, {"text"})

    text = attempt(
        fields,
        partial(
            open_client_label,
            EpochKey(unhex(fields, "epoch key")),
            unhex(fields, "sealed"),
            account_id=AccountId(unhex(fields, "account id")),
            client_id=ClientId(unhex(fields, "client id")),
        ),
    )

    if text is not None:
        assert text == fields["text"]
