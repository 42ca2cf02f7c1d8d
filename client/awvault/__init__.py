"""The owner's side of an end-to-end encrypted home for activity data.

Open a vault with `Vault.open`, write `Event`s and their kinds into buckets,
read them back. docs/guide/library.md begins with ten lines that run.

Names are loaded when they are first used: `awvault --help` must not wait for
NumPy.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from awvault import errors

if TYPE_CHECKING:
    from awvault.events import Activity, Bucket, Event, Input, Tab, Window
    from awvault.vault import Vault

__all__ = [
    "Activity",
    "Bucket",
    "Event",
    "Input",
    "Tab",
    "Vault",
    "Window",
    "__version__",
    "errors",
]

__version__: Final = version("aw-server-e2ee")

_HOMES: Final = {
    "Activity": "awvault.events",
    "Bucket": "awvault.events",
    "Event": "awvault.events",
    "Input": "awvault.events",
    "Tab": "awvault.events",
    "Vault": "awvault.vault",
    "Window": "awvault.events",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that has it (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
