"""Waiting for a condition, in place of waiting for a time."""

import asyncio
from collections.abc import Callable
from typing import Final

SECONDS_MAX: Final = 20.0
STEP_SECONDS: Final = 0.005


async def until(condition: Callable[[], object], seconds: float = SECONDS_MAX) -> None:
    """Return once `condition` holds; fail if it does not in time."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + seconds
    while not condition():
        assert loop.time() < give_up, "the condition did not come to hold"
        await asyncio.sleep(STEP_SECONDS)
