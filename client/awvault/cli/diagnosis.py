"""What `awvault doctor` looks at: from outside, and through the lock's holder."""

from typing import TYPE_CHECKING, Final

from awvault.cli.context import connect, open_store_here
from awvault.doctor import check_outside
from awvault.errors import VaultLockedError
from awvault.processes import DataDirectory
from awvault.service import Check, describe

if TYPE_CHECKING:
    from awvault.settings import Settings


WAIT_SECONDS: Final = 2.0
"""A process that answers at all answers sooner."""


async def diagnose(settings: "Settings") -> list[Check]:
    """Return every check, whatever fails in between."""
    checks = list(check_outside(settings))
    if DataDirectory(settings.data_dir).has_vault():
        checks += await _inside(settings)
    return checks


async def _inside(settings: "Settings") -> list[Check]:
    """Return the checks of whoever has the database."""
    try:
        async with connect(
            settings, open_store_here, wait_seconds=WAIT_SECONDS
        ) as service:
            result = await service.doctor()
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
    return list(result.checks)
