"""Mutants of the host, and of how a client speaks to one.

In the form of `mutants.py`: each row takes one defence out, and the test that it
names must fail.
"""

from typing import Final

from tests.adversarial.mutants import APPENDING, PASSPHRASE, WRITER, mutant

ACCOUNTS: Final = "awserver.storage.sqlite.accounts"
ACCOUNTS_SQL: Final = "awserver/storage/sqlite/migrations/0002_accounts.sql"
BODIES: Final = "awserver.http.bodies"
CHAINS: Final = "awserver.service.chains"
CHANNEL: Final = "awvault.sync.channel"
DOCUMENTS: Final = "awserver.service.documents"
GUARDS: Final = "awserver.http.guards"
HOST_ACCOUNTS: Final = "awserver.service.accounts"
HOST_LOGS: Final = "awserver.service.logs"
LIMITS: Final = "awserver.service.limits"
PROOFS: Final = "awserver.proofs"
PROVING: Final = "awserver.service.proving"
SECRETS: Final = "awserver.service.secrets"
SERVER: Final = "awserver.http.server"
SESSIONS: Final = "awserver.service.sessions"
TIMES: Final = "awserver.service.times"
WIRE: Final = "awserver.wire"

HOST_MUTANTS: Final = (
    # -- T09: replay
    mutant(
        "T09",
        "used nonces are forgotten",
        "test_t09_replay.py::twenty_at_once",
        (
            SESSIONS,
            "                nonce=request.nonce,\n",
            "                nonce=self._parts.random(32),\n",
        ),
    ),
    mutant(
        "T09",
        "used nonces are kept in memory",
        "test_t09_replay.py::restart",
        (
            SESSIONS,
            "        token, session = self._parts.new_session(account, ",
            """        used = self.__dict__.setdefault("used", set())
        if request.nonce in used:
            raise ProofRefusedError
        used.add(request.nonce)
        token, session = self._parts.new_session(account, """,
        ),
        (
            SESSIONS,
            "                nonce=request.nonce,\n",
            "                nonce=self._parts.random(32),\n",
        ),
    ),
    mutant(
        "T09",
        "a nonce lives for ever",
        "test_t09_replay.py::late",
        (SECRETS, "-NONCE_AHEAD_SECONDS_MAX <= age <= NONCE_SECONDS_MAX", "True"),
    ),
    mutant(
        "T09",
        "anybody makes nonces",
        "test_t09_replay.py::own_making",
        (SECRETS, "hmac.compare_digest(mac, self._mac(start, username))", "True"),
    ),
    mutant(
        "T09",
        "a nonce serves every name",
        "test_t09_replay.py::another_name",
        (SECRETS, "lp(start, username.encode()), _MAC_BYTES", "start, _MAC_BYTES"),
    ),
    mutant(
        "T09",
        "hosts are not told apart",
        "test_t09_replay.py::another_host",
        (PROOFS, "            self.origin.encode(),\n", '            b"",\n'),
        (SECRETS, "hmac.compare_digest(mac, self._mac(start, username))", "True"),
    ),
    # -- T10: relay
    mutant(
        "T10",
        "proofs without the origin",
        "test_t10_relay.py::relayed_login or in_a_header",
        (PROOFS, "            self.origin.encode(),\n", '            b"",\n'),
    ),
    mutant(
        "T10",
        "proofs without the act",
        "test_t10_relay.py::act_that_it_is_for",
        (PROOFS, "            self.action.value.encode(),\n", '            b"",\n'),
    ),
    mutant(
        "T10",
        "proofs without the body",
        "test_t10_relay.py::body_that_it_is_for",
        (PROOFS, "            _hash(self.body),\n", '            b"",\n'),
    ),
    mutant(
        "T10",
        "proofs without the client",
        "test_t10_relay.py::client_that_it_is_for",
        (PROOFS, "            self.client_id,\n", '            b"",\n'),
    ),
    mutant(
        "T10",
        "a client's key proves everything",
        "test_t10_relay.py::stands_for_no_passphrase",
        (PROVING, '        if by == "login":\n', '        if by == "nothing":\n'),
    ),
    mutant(
        "T10",
        "redirects are followed",
        "test_t10_relay.py::sent_on and 307",
        (CHANNEL, "allow_redirects=False,", "allow_redirects=True,"),
    ),
    # -- T13: names
    mutant(
        "T13",
        "an unknown name is said to be one",
        "test_t13_names.py::one_form",
        (
            SESSIONS,
            "            salt=subject.salt, nonce=",
            '            salt=subject.salt + b"0" * bool(subject.found), nonce=',
        ),
    ),
    mutant(
        "T13",
        "a decoy changes each time",
        "test_t13_names.py::as_stable",
        (
            SECRETS,
            "return secret.mac(_LABEL_SALT, username.encode(), SALT_BYTES)",
            'return __import__("os").urandom(SALT_BYTES)',
        ),
    ),
    mutant(
        "T13",
        "anybody computes a decoy",
        "test_t13_names.py::as_stable",
        (
            SECRETS,
            "return secret.mac(_LABEL_SALT, username.encode(), SALT_BYTES)",
            "return _hash(_LABEL_SALT, username.encode())[:SALT_BYTES]",
        ),
    ),
    mutant(
        "T13",
        "a proof says what is wrong with it",
        "test_t13_names.py::answered_alike",
        (
            PROVING,
            "        if not (is_signed and is_fresh and has_keys):\n",
            """        if not has_keys:
            raise SignatureInvalidError("there is no such key")
        if not (is_signed and is_fresh and has_keys):
""",
        ),
    ),
    mutant(
        "T13",
        "a taken name comes before the invitation",
        "test_t13_names.py::tells_no_names and INVITE",
        (
            ACCOUNTS,
            """            if invite_hash is not None:
                _use_invite(tx, invite_hash, hour)
            _use_nonce(tx, account, nonce)
            self._add_account(tx, account, username)
""",
            """            _use_nonce(tx, account, nonce)
            self._add_account(tx, account, username)
            if invite_hash is not None:
                _use_invite(tx, invite_hash, hour)
""",
        ),
    ),
    mutant(
        "T13",
        "a closed host says which names are taken",
        "test_t13_names.py::tells_no_names and CLOSED",
        (
            DOCUMENTS,
            "        if self._parts.settings.registration is not Registration.OPEN:",
            "        if not found and self._parts.settings.registration != 'open':",
        ),
    ),
    mutant(
        "T13",
        "answers come as soon as they are found",
        "test_t13_names.py::even_time",
        (PROVING, "EVEN_SECONDS: Final = 0.02", "EVEN_SECONDS: Final = 0.0"),
    ),
    # -- T14: guessing
    mutant(
        "T14",
        "an account may be guessed at from everywhere",
        "test_t14_guessing.py::from_many_addresses",
        (
            SESSIONS,
            'guessed = None if request.by == "client" else request.username',
            "guessed = None",
        ),
    ),
    mutant(
        "T14",
        "the owner's key is locked out with the guesses",
        "test_t14_guessing.py::from_many_addresses",
        (
            SESSIONS,
            'guessed = None if request.by == "client" else request.username',
            "guessed = request.username",
        ),
    ),
    mutant(
        "T14",
        "a right guess is always answered",
        "test_t14_guessing.py::from_many_addresses",
        (
            SESSIONS,
            "        self._parts.proofs.charge(account=guessed, address=address)\n",
            "",
        ),
        (
            SESSIONS,
            "            await wait_until(due)\n            raise\n",
            """            self._parts.proofs.charge(account=guessed, address=address)
            raise
""",
        ),
    ),
    mutant(
        "T14",
        "every address of a network counts alone",
        "test_t14_guessing.py::from_one_address and ipv6-hosts",
        (LIMITS, "_IPV6_NETWORK_BYTES: Final = 8", "_IPV6_NETWORK_BYTES: Final = 16"),
    ),
    mutant(
        "T14",
        "no limit for all together",
        "test_t14_guessing.py::from_everywhere",
        (LIMITS, '                (self._overall, "all"),\n', ""),
    ),
    mutant(
        "T14",
        "everyone chooses their address",
        "test_t14_guessing.py::own_address",
        (
            GUARDS,
            "        if not self._trusted or not self.trusts(address):\n",
            "        if False:\n",
        ),
    ),
    mutant(
        "T14",
        "a deletion is no guess",
        "test_t14_guessing.py::with_a_session",
        (
            HOST_ACCOUNTS,
            "self._parts.edits.charge(account=caller.account_id, address=address)",
            "pass",
        ),
    ),
    # -- T15: tokens
    mutant(
        "T15",
        "secrets of tokens are stored",
        "test_t15_tokens.py::holds_no_token",
        (
            SECRETS,
            "    return text, _hash(_LABEL_TOKEN, secret)\n",
            "    return text, secret\n",
        ),
        (
            SECRETS,
            "_hash(_LABEL_TOKEN, data[ID_BYTES:]))",
            "data[ID_BYTES:])",
        ),
    ),
    mutant(
        "T15",
        "a hash is as good as a token",
        "test_t15_tokens.py::serves_as_a_token",
        (
            SESSIONS,
            "        access = self._parts.accounts.access(account, token_hash)\n",
            """        access = self._parts.accounts.access(account, token_hash)
        if access is None and len(token) == 64:
            import base64
            given = base64.urlsafe_b64decode(token)[16:]
            access = self._parts.accounts.access(account, given)
""",
        ),
    ),
    mutant(
        "T15",
        "a token lives for ever",
        "test_t15_tokens.py::that_nobody_uses",
        (
            TIMES,
            "SESSION_HOURS_MAX: Final = 30 * 24",
            "SESSION_HOURS_MAX: Final = 10**6",
        ),
    ),
    mutant(
        "T15",
        "a revoked client keeps its sessions",
        "test_t15_tokens.py::revoked_clients_token",
        (CHAINS, "clients=frozenset(ended - ended_before),", "clients=frozenset(),"),
    ),
    mutant(
        "T15",
        "sessions end for who asks alone",
        "test_t15_tokens.py::its_owner_says_so",
        (
            SESSIONS,
            "caller.token_hash if session_id == CURRENT else _read_id(session_id)",
            "caller.token_hash",
        ),
    ),
    # -- T32: nothing that is stored changes
    mutant(
        "T32",
        "other bytes at a seq of a host",
        "test_t32_host.py::other_bytes_at_a_seq or fifty_appends",
        (
            APPENDING,
            "        if found != (record.header_bytes, record.signature):",
            "        if False:",
        ),
    ),
    mutant(
        "T32",
        "a host answers before the commit",
        "test_t32_host.py::before_the_commit",
        (
            WRITER,
            '            self._probe("commit")\n',
            '            _resolve(group)\n            self._probe("commit")\n',
        ),
    ),
    # -- T33: a stolen token
    mutant(
        "T33",
        "signatures of records unchecked",
        "test_t33_stolen_token.py::without_its_clients_signature",
        (
            HOST_LOGS,
            "        await _verify(known, client, records)\n",
            "",
        ),
    ),
    mutant(
        "T33",
        "only the first signature is checked",
        "test_t33_stolen_token.py::does_not_carry",
        (
            HOST_LOGS,
            "    for record in records:\n        verify_sig",
            "    for record in records[:1]:\n        verify_sig",
        ),
    ),
    mutant(
        "T33",
        "any account's records are taken",
        "test_t33_stolen_token.py::of_another_account",
        (
            HOST_LOGS,
            "        if record.header.account_id != caller.account_id:\n",
            "        if False:\n",
        ),
    ),
    mutant(
        "T33",
        "an edit needs a token alone",
        "test_t33_stolen_token.py::with_a_token_alone",
        (
            PROVING,
            "        if not (is_signed and is_fresh and has_keys):\n",
            "        if action != 'document' and not (is_signed and is_fresh):\n",
        ),
    ),
    mutant(
        "T33",
        "epochs of the future are taken",
        "test_t33_stolen_token.py::must_fit and future-epoch",
        (HOST_LOGS, "        if header.epoch > epoch_max:\n", "        if False:\n"),
    ),
    # -- T40: hostile input
    mutant(
        "T40",
        "a streamed body has no end",
        "test_t40_input.py::body_without_an_end",
        (
            BODIES,
            "                if size > self.bytes_max:\n",
            "                if False:\n",
        ),
    ),
    mutant(
        "T40",
        "a packed body is looked at",
        "test_t40_input.py::packed_body and gzip",
        (
            BODIES,
            "        if encoding is not None and ",
            "        if False and ",
        ),
    ),
    mutant(
        "T40",
        "headers may take for ever",
        "test_t40_input.py::headers_that_drip",
        (
            SERVER,
            "limit = min(doors.limits.header_seconds, self.keepalive_timeout)",
            "limit = 3600",
        ),
    ),
    mutant(
        "T40",
        "an answer has no end",
        "test_t40_input.py::endless_answer and keys",
        (CHANNEL, "            if received > bytes_max:\n", "            if False:\n"),
    ),
    mutant(
        "T40",
        "an answer may drip",
        "test_t40_input.py::answer_that_drips",
        (
            CHANNEL,
            "                    min(left, self._limits.stall_seconds),\n",
            "                    self._limits.stall_seconds,\n",
        ),
    ),
    mutant(
        "T40",
        "a packed answer is taken",
        "test_t40_input.py::packed_answer and gzip",
        (
            CHANNEL,
            'if answer.header("Content-Encoding") not in {"", "identity"}:',
            "if False:",
        ),
        (CHANNEL, "auto_decompress=False,", "auto_decompress=True,"),
    ),
    mutant(
        "T40",
        "a host's words print as they are",
        "test_t40_input.py::print_as_words",
        (
            CHANNEL,
            'return "".join(c if c.isprintable() else "?" for c in text[',
            'return "".join(c for c in text[',
        ),
    ),
    # -- T41: plain http
    mutant(
        "T41",
        "plain http goes everywhere",
        "test_t41_plain_http.py::to_another_machine",
        (
            CHANNEL,
            "and not insecure and not _is_loopback(origin):",
            "and False:",
        ),
    ),
    mutant(
        "T41",
        "a name that begins like loopback is",
        "test_t41_plain_http.py::to_another_machine",
        (
            CHANNEL,
            '        return host == "localhost"\n',
            '        return host.startswith(("localhost", "127."))\n',
        ),
    ),
    mutant(
        "T41",
        "any certificate will do",
        "test_t41_plain_http.py::nobody_vouches",
        (
            CHANNEL,
            "            trust = True if self._trust is None else self._trust\n",
            "            trust = False if self._trust is None else self._trust\n",
        ),
    ),
    # -- T46: a dump
    mutant(
        "T46",
        "a cheaper derivation",
        "test_t46_dump.py::full_derivation",
        (PASSPHRASE, "memory_kib=256 * 1024, passes=3", "memory_kib=64, passes=3"),
    ),
    mutant(
        "T46",
        "the host notes one thing more",
        "test_t46_dump.py::holds_what_is_listed",
        (
            ACCOUNTS_SQL,
            "    created_hour INTEGER NOT NULL",
            "    address TEXT,\n    created_hour INTEGER NOT NULL",
        ),
    ),
    mutant(
        "T02",
        "an answer says one thing more",
        "test_t02_answers.py::every_field",
        (
            WIRE,
            "    quota_bytes: Count | None\n",
            "    quota_bytes: Count | None\n    events: int = 0\n",
        ),
    ),
)
