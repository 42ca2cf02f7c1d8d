"""What `awvault doctor` looks at: from outside, and through the lock's holder."""

import time
from typing import TYPE_CHECKING, Final

from awvault.cli.context import connect, open_store_here
from awvault.control.client import ControlClient
from awvault.doctor import check_outside, check_port
from awvault.errors import VaultLockedError
from awvault.processes import DataDirectory
from awvault.service import Check, describe
from awvault.transfer.scheduled import check_exports

if TYPE_CHECKING:
    from awvault.settings import Settings


WAIT_SECONDS: Final = 2.0
"""A process that answers at all answers sooner."""


async def diagnose(settings: "Settings") -> list[Check]:
    """Return every check, whatever fails in between."""
    checks = list(check_outside(settings))
    checks += check_exports(settings, now=time.time())
    inside: list[Check] = []
    if DataDirectory(settings.data_dir).has_vault():
        inside = await _inside(settings)
    if not any(check.name.startswith("port ") for check in inside):
        checks.append(check_port(settings))
    return checks + inside


async def _inside(settings: "Settings") -> list[Check]:
    """Return the checks of whoever has the database."""
    try:
        async with connect(
            settings, open_store_here, wait_seconds=WAIT_SECONDS
        ) as service:
            result = await service.doctor()
            served = await _served_port(service)
    except VaultLockedError as error:
        return [
            Check(
                name="lock",
                outcome="fail",
                detail=str(error),
                hint="if that process hangs, end it; nothing acknowledged is lost",
            )
        ]
    except Exception as error:
        failure = describe(error)
        if failure is None:
            raise
        return [
            Check(
                name="database",
                outcome="fail",
                detail=failure.message,
                hint=" ".join(failure.hints),
            )
        ]
    return [*served, *result.checks]


async def _served_port(service: object) -> list[Check]:
    """Return what the aw-server that holds the vault says of its port."""
    if not isinstance(service, ControlClient):
        return []
    server = (await service.status()).server
    if server is None:
        return []
    return [
        Check(
            name=f"port {server.url.rpartition(':')[2]}",
            outcome="ok",
            detail=f"aw-server (pid {server.pid}) serves this vault on {server.url}",
        )
    ]
