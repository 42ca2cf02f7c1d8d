"""Watches secrets being made, so that a test can look for their bytes afterwards.

Every secret that the program makes is an object of `awvault.crypto.keys`.
"""

import contextlib
import inspect
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FrameType, FunctionType
from typing import Any

from awvault.crypto import keys
from tests.helpers.canaries import Search, bytes_needles


def secret_kinds() -> list[type]:
    """Return every type of secret."""
    return [
        kind
        for kind in vars(keys).values()
        if isinstance(kind, type)
        and kind.__module__ == keys.__name__
        and hasattr(kind, "reveal")
    ]


def _makers() -> dict[CodeType, type]:
    """Return the constructors of every type of secret."""
    makers: dict[CodeType, type] = {}
    for kind in secret_kinds():
        constructor = inspect.getattr_static(kind, "__init__")
        if isinstance(constructor, FunctionType):
            makers[constructor.__code__] = kind
    return makers


@contextlib.contextmanager
def watching() -> Iterator[dict[bytes, str]]:
    """Give the secrets that are made meanwhile, in any thread, by their bytes."""
    makers = _makers()
    assert makers
    seen: dict[bytes, str] = {}

    def watch(frame: FrameType, event: str, _: Any) -> None:
        if event == "return" and frame.f_code in makers:
            made = frame.f_locals["self"]
            with contextlib.suppress(AttributeError):  # it was refused
                seen[bytes(made.reveal())] = type(made).__name__

    before = sys.getprofile()
    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        yield seen
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


def search_for(secrets: dict[bytes, str]) -> Search:
    return Search(
        {
            f"{name} {at}": list(bytes_needles(name, raw))
            for at, (raw, name) in enumerate(secrets.items())
            if len(raw) >= 16
        }
    )
