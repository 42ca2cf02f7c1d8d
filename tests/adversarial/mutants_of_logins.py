"""Mutants of how a machine registers, logs in and changes its passphrase.

In the form of `mutants.py`: each row takes one defence out, and the test that it
names must fail.
"""

from typing import Final

from tests.adversarial.mutants import _BLOB_HASH, _SEALS_IN_PLAIN_TEXT, mutant

ACCOUNTS: Final = "awvault.accounts"
CHANNEL: Final = "awvault.sync.channel"
LOGIN: Final = "awvault.login"
PROVING: Final = "awvault.protocol.proving"
WIRE: Final = "awserver.wire"

_ANY_FIELDS: Final = (
    WIRE,
    "class Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True,",
    "class Wire(msgspec.Struct, frozen=True,",
)
_ENDLESS: Final = (
    CHANNEL,
    "            if received > bytes_max:\n",
    "            if False:\n",
)

LOGIN_MUTANTS: Final = (
    mutant(
        "T03",
        "slots travel in plain text",
        "test_t03_traffic.py::reaches_a_host",
        *_SEALS_IN_PLAIN_TEXT,
    ),
    mutant(
        "T05",
        "what a host adds is passed over",
        "test_t05_kdf_settings.py::refused_before and memory",
        _ANY_FIELDS,
    ),
    mutant(
        "T06",
        "a salt of any length",
        "test_t06_salts.py::sixteen_bytes and 15",
        (
            WIRE,
            "Salt = Annotated[bytes, Meta(min_length=16, max_length=16)]",
            "Salt = Annotated[bytes, Meta(min_length=0)]",
        ),
    ),
    mutant(
        "T06", "an answer has no end", "test_t06_salts.py::without_an_end", _ENDLESS
    ),
    mutant(
        "T07",
        "another salt has its own error",
        "test_t07_other_salt.py::looks_like",
        (
            LOGIN,
            "raise LoginRefusedError(username, self._origin, ",
            "raise LoginRefusedError(username, salt.hex(), ",
        ),
    ),
    mutant(
        "T08",
        "one line of a table serves every name",
        "test_t08_one_salt.py::one_name",
        (
            "awvault.crypto.passphrase",
            "data = lp(username.encode()) + salt",
            "data = salt",
        ),
    ),
    mutant(
        "T11",
        "a nonce of any length",
        "test_t11_nonces.py::thirty_two and 33",
        (PROVING, "        if len(nonce) != NONCE_BYTES:\n", "        if False:\n"),
        (
            WIRE,
            (
                "Nonce = Annotated[bytes, Meta(min_length=NONCE_BYTES,"
                " max_length=NONCE_BYTES)]"
            ),
            "Nonce = Annotated[bytes, Meta(min_length=0)]",
        ),
    ),
    mutant(
        "T11",
        "no nonce of one's own",
        "test_t11_nonces.py::over_the_same",
        (
            PROVING,
            "client_nonce=draw(random, NONCE_BYTES),",
            "client_nonce=bytes(NONCE_BYTES),",
        ),
    ),
    mutant(
        "T11",
        "the nonce is signed as it is",
        "test_t11_nonces.py::is_a_transcript and zeros",
        (
            "awvault.crypto.keys",
            "return sign(self._expanded, labels.PROOF, transcript.encode())",
            """signed = transcript.encode()
        if transcript.action == "session":
            signed = transcript.nonce
        return sign(self._expanded, labels.PROOF, signed)""",
        ),
    ),
    mutant(
        "T12",
        "a client is made before the account is proven",
        "test_t12_not_initialised.py::makes_nothing and documents and account",
        (
            LOGIN,
            "account_id = await self._begin(host, salt, owner, client_id)\n",
            """self._write_pending(
                PendingLogin(
                    origin=self._origin,
                    username=login.username,
                    account_id="",
                    client_id="",
                    keystore=b"",
                )
            )
            account_id = await self._begin(host, salt, owner, client_id)
""",
        ),
    ),
    mutant(
        "T16",
        "a change counts before the host has it",
        "test_t16_interrupted.py::made_or_not and up",
        (
            ACCOUNTS,
            '        self._step("edit-attempt-stored")\n',
            (
                '        self._step("edit-attempt-stored")\n'
                "        await self._adopt(edit)\n"
            ),
        ),
    ),
    mutant(
        "T16", "an old slot is taken", "test_t16_interrupted.py::old_slot", _BLOB_HASH
    ),
    mutant(
        "T50",
        "fields of a host's own",
        "test_t50_host.py::field_more",
        _ANY_FIELDS,
    ),
    mutant(
        "T50",
        "a session of another account",
        "test_t50_host.py::is_not_entered",
        (
            ACCOUNTS,
            "            if session.account_id != self._vault.keys.account_id:\n",
            "            if False:\n",
        ),
    ),
)
