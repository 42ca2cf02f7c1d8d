"""The account document: read it, replace it by the next version, put it back."""

import asyncio
from collections.abc import Sequence
from typing import Final

from awserver.config import Registration
from awserver.documents import LOCAL_USERNAME, hash_keys_blob
from awserver.errors import (
    DocumentConflictError,
    DocumentInvalidError,
    ProofRefusedError,
    RegistrationClosedError,
    SessionInvalidError,
    StorageCorruptError,
    UsernameTakenError,
)
from awserver.proofs import Action, body_of_document, body_of_restore
from awserver.records import AccountId, ClientId
from awserver.service.base import Caller, Changes, Documents
from awserver.service.chains import (
    check_blob,
    check_kept,
    ended_sessions,
    new_places,
    read_chain,
    require_chain_bytes,
    to_store,
)
from awserver.service.known import KnownDocument
from awserver.service.parts import Parts
from awserver.storage.base import READ_BYTES_MAX, FoundAccount
from awserver.wire import DocumentRequest, RestoreRequest, VersionAnswer

_ONE_RECORD_BYTES: Final = 1
"""A page of one record, for a page holds one at least."""


class HostDocuments(Documents):
    """The documents of a store."""

    def __init__(self, parts: Parts, *, changes: Changes) -> None:
        """Use what `open_service` made."""
        self._parts = parts
        self._changes = changes

    async def read(self, caller: Caller, *, after: int) -> list[bytes]:
        """See `Documents.read`."""
        left = READ_BYTES_MAX
        page: list[bytes] = []
        for document in await self._parts.logs.documents(
            caller.account_id, start_version=after + 1
        ):
            left -= len(document)
            if left < 0 and page:
                break
            page.append(document)
        return page

    async def keys_blob(self, caller: Caller) -> bytes:
        """See `Documents.keys_blob`."""
        blob = await self._parts.logs.keys_blob(caller.account_id)
        if blob is None:
            # The account was deleted meanwhile, or something is missing.
            if (
                self._parts.accounts.access(caller.account_id, caller.token_hash)
                is None
            ):
                raise SessionInvalidError
            raise StorageCorruptError(
                "the keys blob of an account is missing: put it back from a client"
            )
        return blob

    async def put(
        self, caller: Caller, request: DocumentRequest, *, address: str
    ) -> VersionAnswer:
        """See `Documents.put`."""
        self._parts.require_writable()
        subject = await self._parts.prover.subject_of(caller.account_id, caller.version)
        self._parts.edits.charge(account=caller.account_id, address=address)
        self._parts.prover.check(
            request,
            subject,
            action=Action.DOCUMENT,
            by=request.by,
            signature=request.signature,
            body=body_of_document(request.document, request.keys_blob),
        )
        self._parts.edits.forgive(caller.account_id)
        before = await self._parts.known.at(caller.account_id, caller.version)
        chain = await asyncio.to_thread(read_chain, before, [request.document])
        await self._check(before, chain)
        newest = chain[-1]
        if request.keys_blob is not None:
            check_blob(newest, request.keys_blob)
        elif (
            newest.signed.document.keys_blob_hash
            != before.signed.document.keys_blob_hash
        ):
            raise DocumentInvalidError(
                "the document names another keys blob, and none came with it"
            )
        await self._parts.accounts.put_documents(
            caller.account_id,
            to_store(chain),
            keys_blob=request.keys_blob,
            nonce=request.nonce,
            ended=ended_sessions(before, chain),
            grant=self._parts.grant(caller),
        )
        self._changes.notify(caller.account_id)
        return VersionAnswer(version=newest.version)

    async def restore(self, request: RestoreRequest, *, address: str) -> VersionAnswer:
        """See `Documents.restore`."""
        self._parts.require_writable()
        self._parts.proofs.charge(address=address)
        require_chain_bytes(request.documents)
        offered = await asyncio.to_thread(KnownDocument.read, request.documents[-1])
        document = offered.signed.document
        entry = offered.active_client(ClientId(bytes.fromhex(request.client_id)))
        await asyncio.to_thread(
            self._parts.prover.check_all,
            request,
            username=request.username,
            salt=document.salt,
            action=Action.RESTORE,
            body=body_of_restore(request.documents, request.keys_blob),
            signatures=[(None if entry is None else entry.public, request.signature)],
        )
        if document.username != request.username:
            raise ProofRefusedError
        check_blob(offered, request.keys_blob)
        found = await self._parts.accounts.find(request.username)
        if found is not None and found.account_id == document.account_id:
            await self._continue(found, request)
        else:
            self._parts.registrations.charge(account=request.username, address=address)
            await self._begin(found, document.account_id, request)
            self._parts.known.forget(document.account_id)
        self._changes.notify(document.account_id)
        return VersionAnswer(version=document.version)

    async def _continue(self, found: FoundAccount, request: RestoreRequest) -> None:
        """Store the versions that the host lacks, after those that it has."""
        account = found.account_id
        first = await asyncio.to_thread(KnownDocument.read, request.documents[0])
        if not 1 <= first.version <= found.version + 1:
            raise DocumentConflictError(
                expected_version=found.version + 1, got_version=first.version
            )
        held = await self._parts.logs.documents(account, start_version=first.version)
        for version, (ours, theirs) in enumerate(
            zip(held, request.documents, strict=False), start=first.version
        ):
            if ours != theirs:
                raise DocumentConflictError(
                    expected_version=found.version + 1, got_version=version
                )
        if len(held) > len(request.documents):
            raise DocumentConflictError(
                expected_version=found.version + 1,
                got_version=first.version + len(request.documents) - 1,
            )
        before = await self._parts.known.at(account, found.version)
        lacking = request.documents[len(held) :]
        chain = await asyncio.to_thread(read_chain, before, lacking)
        await self._check(before, chain)
        blob = await self._parts.logs.keys_blob(account)
        newest = chain[-1] if chain else before
        has_blob = (
            blob is not None
            and hash_keys_blob(blob) == newest.signed.document.keys_blob_hash
        )
        await self._parts.accounts.put_documents(
            account,
            to_store(chain),
            keys_blob=None if has_blob else request.keys_blob,
            nonce=request.nonce,
            ended=ended_sessions(before, chain),
            grant=None,
        )

    async def _begin(
        self,
        found: FoundAccount | None,
        account: AccountId,
        request: RestoreRequest,
    ) -> None:
        """Make an account that the host does not have, or lost wholly.

        Where it takes no new ones, the answer does not tell whether the name is
        somebody else's.
        """
        if self._parts.settings.registration is not Registration.OPEN:
            raise RegistrationClosedError(
                "this host has no such account, and takes no new ones by itself:"
                " ask whoever runs it"
            )
        if found is not None or request.username == LOCAL_USERNAME:
            raise UsernameTakenError(f'the username "{request.username}" is taken')
        chain = await asyncio.to_thread(read_chain, None, request.documents)
        check_kept(None, chain)
        await self._parts.accounts.create(
            account,
            username=request.username,
            documents=to_store(chain),
            keys_blob=request.keys_blob,
            nonce=request.nonce,
            session=None,
            invite_hash=None,
            hour=self._parts.clock.hour(),
        )

    async def _check(
        self, before: KnownDocument, chain: Sequence[KnownDocument]
    ) -> None:
        """Check what a chain says of this host's own: names, logs, erasures.

        Raises `DocumentInvalidError`, `NotSupportedError`.
        """
        if not chain:
            return
        check_kept(before, chain)
        newest = chain[-1]
        if newest.signed.document.username != before.signed.document.username:
            raise DocumentInvalidError("the username of an account never changes here")
        account = newest.signed.document.account_id
        for (client, seq), named in new_places(before, newest).items():
            for held in await self._parts.logs.read(
                account, client, start=seq, bytes_max=_ONE_RECORD_BYTES, bodies=False
            ):
                if held.header.seq == seq and held.hash != named:
                    raise DocumentInvalidError(
                        f"record {seq} of client {client.hex()[:8]} is another here"
                        " than the document says"
                    )
