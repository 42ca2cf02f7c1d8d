"""What `import awvault` gives, and what it costs."""

import subprocess
import sys

import pytest

import awvault


def test_every_public_name_is_there() -> None:
    """Each name of `__all__` can be had, and is what its module defines."""
    for name in awvault.__all__:
        assert getattr(awvault, name) is not None
    assert awvault.Vault.__module__ == "awvault.vault"
    assert awvault.Event.__module__ == "awvault.events"


def test_the_public_names_are_about_ten() -> None:
    """Nothing else comes with `from awvault import *`, and it stays small."""
    names: dict[str, object] = {}
    exec("from awvault import *", names)  # noqa: S102 - what a user types
    assert names.keys() - {"__builtins__"} == set(awvault.__all__)
    assert len(awvault.__all__) <= 12


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that is misspelled is reported as Python does it."""
    with pytest.raises(AttributeError, match="Volt"):
        _ = awvault.Volt


def test_importing_the_package_loads_no_library() -> None:
    """`awvault --help` must not wait for NumPy, aiohttp or SQLite."""
    heavy = "'numpy', 'aiohttp', 'apsw', 'nacl'"
    script = f"import awvault, sys; print([m for m in ({heavy}) if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert found.stdout.strip() == "[]"
