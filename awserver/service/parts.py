"""What every part of the service is made of."""

from collections.abc import Callable
from dataclasses import dataclass

from awserver.config import ServiceSettings
from awserver.errors import StoreReadOnlyError
from awserver.records import AccountId, ClientId
from awserver.service.base import Caller
from awserver.service.known import KnownDocuments
from awserver.service.limits import Limiter
from awserver.service.proving import Prover
from awserver.service.secrets import make_token
from awserver.service.times import SESSION_HOURS_MAX, Clock, Random
from awserver.storage.base import AccountStore, Grant, LogStore, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The stores, what is known of them, and what the host was told."""

    accounts: AccountStore
    logs: LogStore
    known: KnownDocuments
    prover: Prover
    settings: ServiceSettings
    clock: Clock
    random: Random
    proofs: Limiter
    """For everything that takes a proof of an account that is there."""
    edits: Limiter
    """For everything that takes a proof beside a session."""
    registrations: Limiter
    """For everything that makes an account."""
    is_local: bool
    """Whether this is the store of a vault on this machine."""
    is_read_only: Callable[[], bool]
    """Whether the store follows a remote host just now."""

    def require_writable(self) -> None:
        """Raise `StoreReadOnlyError` where this store follows another host."""
        if self.is_read_only():
            raise StoreReadOnlyError(
                "this store follows a remote host, and is written by its own vault"
                " alone: write to the remote host"
            )

    def grant(self, caller: Caller) -> Grant:
        """Return what must hold still when the caller's request is done."""
        hour = self.clock.hour()
        return Grant(
            account_id=caller.account_id,
            token_hash=caller.token_hash,
            seen_hour_min=hour - SESSION_HOURS_MAX,
            hour=hour,
        )

    def new_session(self, account: AccountId, client_id: str) -> tuple[str, Session]:
        """Return a token, and the session that it is stored as."""
        token, token_hash = make_token(account, self.random)
        hour = self.clock.hour()
        return token, Session(
            token_hash=token_hash,
            client_id=ClientId(bytes.fromhex(client_id)),
            created_hour=hour,
            seen_hour=hour,
        )
