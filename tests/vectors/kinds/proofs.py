"""What a client signs to show a host that it holds a key."""

from dataclasses import replace
from functools import partial

from awserver.encoding import lp
from awserver.errors import SignatureInvalidError
from awserver.proofs import (
    Action,
    Transcript,
    body_of_delete,
    body_of_document,
    body_of_register,
    body_of_restore,
)
from awserver.records import AccountId, ClientId
from awvault.crypto import labels
from awvault.crypto.hashing import hash_bytes
from awvault.crypto.keys import ClientKey, LoginKey
from awvault.errors import SignatureError
from tests.helpers.randomness import fixed
from tests.vectors.form import Fields, attempt, require_keys, same, unhex

NAME = "proofs"

_LOGIN = LoginKey(fixed("proof login"))
_CLIENT = ClientKey(fixed("proof client"))
_GOOD = Transcript(
    origin="https://example.org",
    action=Action.LOGIN,
    username="alice",
    nonce=fixed("proof nonce"),
    client_nonce=fixed("proof client nonce"),
    client_id=_CLIENT.client_id,
    salt=fixed("proof salt", 16),
    body=b"",
)
_DOCUMENTS = [b"first document", b"second document"]


def make() -> dict[str, Fields]:
    cases: list[tuple[str, str, Transcript, LoginKey | ClientKey]] = [
        ("success", "a login by the passphrase", _GOOD, _LOGIN),
        (
            "session",
            "a session by a client, at a host on a port of its own",
            replace(_GOOD, action=Action.SESSION, origin="http://127.0.0.1:5600"),
            _CLIENT,
        ),
        (
            "register",
            "two documents, a keys blob and an invite",
            replace(
                _GOOD,
                action=Action.REGISTER,
                body=body_of_register(_DOCUMENTS, b"keys blob", "an-invite"),
            ),
            _LOGIN,
        ),
        (
            "register_open",
            "the same without an invite",
            replace(
                _GOOD,
                action=Action.REGISTER,
                body=body_of_register(_DOCUMENTS, b"keys blob", None),
            ),
            _LOGIN,
        ),
        (
            "document",
            "an edit that changes the keys blob",
            replace(
                _GOOD,
                action=Action.DOCUMENT,
                body=body_of_document(_DOCUMENTS[1], b"keys blob"),
            ),
            _LOGIN,
        ),
        (
            "document_alone",
            "an edit that leaves the keys blob as it is",
            replace(
                _GOOD,
                action=Action.DOCUMENT,
                body=body_of_document(_DOCUMENTS[1], None),
            ),
            _LOGIN,
        ),
        (
            "restore",
            "documents that the host lost",
            replace(
                _GOOD,
                action=Action.RESTORE,
                body=body_of_restore(_DOCUMENTS, b"keys blob"),
            ),
            _CLIENT,
        ),
        (
            "delete",
            "the end of an account",
            replace(
                _GOOD,
                action=Action.DELETE,
                body=body_of_delete(AccountId(fixed("proof account", 16))),
            ),
            _LOGIN,
        ),
    ]
    vectors = {}
    for name, comment, transcript, key in cases:
        fields = _given(transcript, key, "success", comment)
        values = {name: value.hex() for name, value in _values(fields).items()}
        vectors[name] = {**fields, **values}
    for name, comment, changes in [
        ("other_origin", "signed for another host", {"origin": "https://example.com"}),
        ("other_action", "signed for another action", {"action": Action.SESSION}),
        ("other_username", "signed for another username", {"username": "alicia"}),
        ("other_nonce", "signed for another nonce", {"nonce": fixed("other nonce")}),
        ("other_client_nonce", "signed with another nonce of the client",
         {"client_nonce": fixed("other client nonce")}),
        ("other_client", "signed by another client",
         {"client_id": ClientId(fixed("other client", 16))}),
        ("other_salt", "signed for another salt", {"salt": fixed("other salt", 16)}),
        ("other_body", "signed for another body", {"body": b"other"}),
    ]:  # fmt: skip
        signed: Transcript = replace(_GOOD, **changes)  # type: ignore[arg-type]
        vectors[name] = {
            **_given(_GOOD, _LOGIN, "signature failure", comment),
            "signature": _LOGIN.prove(signed).hex(),
        }
    vectors["without_label"] = {
        **_given(_GOOD, _LOGIN, "signature failure", "signed under another label"),
        # A client key signs what it signs under "record".
        "public": _CLIENT.public.hex(),
        "signature": _CLIENT.sign(_GOOD.encode()).hex(),
    }
    return vectors


def check(fields: Fields) -> None:
    require_keys(
        fields,
        {
            "origin",
            "action",
            "username",
            "nonce",
            "client nonce",
            "client id",
            "salt",
            "body",
            "public",
            "signature",
        },
        {"seed", "salt hash", "body hash", "transcript", "signed message"},
    )
    transcript = _transcript(fields)

    verified = attempt(
        fields,
        partial(
            _verify, transcript, unhex(fields, "public"), unhex(fields, "signature")
        ),
    )

    if verified is not None:
        same(fields, _values(fields))


def _verify(transcript: Transcript, public: bytes, signature: bytes) -> bool:
    try:
        transcript.verify(public, signature)
    except SignatureInvalidError as error:
        raise SignatureError(str(error)) from None
    return True


def _given(
    transcript: Transcript, key: LoginKey | ClientKey, expect: str, comment: str
) -> Fields:
    fields = {
        "expect": expect,
        "comment": comment,
        "origin": transcript.origin,
        "action": transcript.action.value,
        "username": transcript.username,
        "nonce": transcript.nonce.hex(),
        "client nonce": transcript.client_nonce.hex(),
        "client id": transcript.client_id.hex(),
        "salt": transcript.salt.hex(),
        "body": transcript.body.hex(),
        "public": key.public.hex(),
        "signature": key.prove(transcript).hex(),
    }
    if expect == "success":
        fields["seed"] = key.reveal().hex()
    return fields


def _transcript(fields: Fields) -> Transcript:
    return Transcript(
        origin=fields["origin"],
        action=Action(fields["action"]),
        username=fields["username"],
        nonce=unhex(fields, "nonce"),
        client_nonce=unhex(fields, "client nonce"),
        client_id=ClientId(unhex(fields, "client id")),
        salt=unhex(fields, "salt"),
        body=unhex(fields, "body"),
    )


def _values(fields: Fields) -> dict[str, bytes]:
    transcript = _transcript(fields)
    key = LoginKey(unhex(fields, "seed"))
    return {
        "public": key.public,
        "salt hash": hash_bytes(labels.PROOF_HASH, transcript.salt),
        "body hash": hash_bytes(labels.PROOF_HASH, transcript.body),
        "transcript": transcript.encode(),
        "signed message": lp(b"proof") + transcript.encode(),
        "signature": key.prove(transcript),
    }
