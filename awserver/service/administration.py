"""What whoever runs a host does with its accounts; no content is within reach."""

import re
from typing import Final

from awserver.records import ID_BYTES, AccountId
from awserver.service.base import Administration, Changes
from awserver.service.deleting import Deleter
from awserver.service.parts import Parts
from awserver.service.secrets import make_invite
from awserver.service.times import INVITE_HOURS
from awserver.storage.base import Account, Standing

_ID: Final = re.compile(rf"[0-9a-f]{{{2 * ID_BYTES}}}")


class HostAdministration(Administration):
    """The accounts of a store, from outside."""

    def __init__(self, parts: Parts, *, changes: Changes, deleter: Deleter) -> None:
        """Use what `open_service` made."""
        self._parts = parts
        self._changes = changes
        self._deleter = deleter

    async def invite(self) -> str:
        """See `Administration.invite`."""
        code, code_hash = make_invite(self._parts.random)
        await self._parts.accounts.add_invite(
            code_hash, expires_hour=self._parts.clock.hour() + INVITE_HOURS
        )
        return code

    async def accounts(self, *, after: AccountId | None = None) -> list[Account]:
        """See `Administration.accounts`."""
        return await self._parts.accounts.list_accounts(after=after)

    async def account(self, name: str) -> Account | None:
        """See `Administration.account`."""
        accounts = self._parts.accounts
        # The id first: nobody chooses one, so no username can stand in its way.
        if _ID.fullmatch(name):
            account = await accounts.account(AccountId(bytes.fromhex(name)))
            if account is not None:
                return account
        found = await accounts.find(name)
        return None if found is None else await accounts.account(found.account_id)

    async def sessions(self, account: AccountId) -> int:
        """See `Administration.sessions`."""
        return len(await self._parts.accounts.sessions(account))

    async def set_standing(self, account: AccountId, standing: Standing) -> None:
        """See `Administration.set_standing`."""
        await self._parts.accounts.set_standing(account, standing)

    async def set_quota(self, account: AccountId, quota_bytes: int | None) -> None:
        """See `Administration.set_quota`."""
        await self._parts.accounts.set_quota(account, quota_bytes)

    async def delete(self, account: AccountId) -> None:
        """See `Administration.delete`."""
        await self._parts.accounts.delete(account, nonce=None, grant=None)
        self._changes.notify(account)
        await self._deleter.start(account)
