"""What whoever runs a host does with its accounts; no content is within reach."""

from awserver.records import AccountId
from awserver.service.base import Administration, Changes
from awserver.service.deleting import Deleter
from awserver.service.parts import Parts
from awserver.service.secrets import make_invite
from awserver.service.times import INVITE_HOURS
from awserver.storage.base import Account, Standing


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
