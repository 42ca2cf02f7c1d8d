"""Who may import what, where import-linter's words do not reach.

import-linter (pyproject.toml) checks the layers and follows chains of imports.
It cannot tell `nacl.signing` from the rest of `nacl`, has no allow-list, and
does not see whether an import is lazy. So these tests read each import
statement of the two packages, lazy ones and ones for types included.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

HOST: Final = "awserver"
VAULT: Final = "awvault"

# Who alone may import a package. A room covers all its modules.
IMPORTERS: Final = {
    "aiohttp": (
        "awserver.http",
        "awvault.control",
        "awvault.gateway",
        "awvault.localhost",
        "awvault.sync",
    ),
    # The last reads databases of another program, which have tables of their own.
    "apsw": ("awserver.storage", "awvault.tables", "awvault.transfer.databases"),
    "argon2": ("awvault.crypto",),
    "nacl": ("awserver.signatures", "awvault.crypto"),
    "sqlite3": (),
}

# All that the vault takes from the host's package.
SHARED: Final = (
    "awserver.documents",
    "awserver.encoding",
    "awserver.errors",
    "awserver.labels",
    "awserver.origins",
    "awserver.proofs",
    "awserver.records",
    "awserver.storage",
    "awserver.wire",
)

PURE_ROOMS: Final = ("awvault.crypto", "awvault.protocol", "awvault.columns")

# Calls that read a clock or a file without an import that gives them away.
IMPURE_CALLS: Final = {"input", "now", "open", "print", "today", "utcnow"}


@dataclass(frozen=True, slots=True)
class Imported:
    """One name that a module imports, in full: `nacl.signing.VerifyKey`."""

    importer: str
    name: str
    line: int
    lazy: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.name}"


def within(name: str, *rooms: str) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def source_files(package: str) -> Iterator[tuple[str, Path]]:
    """Yield the name and the file of each module, wherever it is installed."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    root = Path(spec.submodule_search_locations[0])
    for path in sorted(root.rglob("*.py")):
        parts = [package, *path.relative_to(root).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        yield ".".join(parts), path


def names_imported_by(node: ast.AST) -> list[str]:
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom(module=str(module), level=0):
            return [f"{module}.{alias.name}" for alias in node.names]
        case ast.Call(
            func=ast.Name(id=function) | ast.Attribute(attr=function),
            args=[ast.Constant(value=str(name)), *_],
        ) if function in {"__import__", "import_module"}:
            return [name]
        case _:
            return []


def read_imports(importer: str, source: str) -> Iterator[Imported]:
    """Yield what a module imports, by statement or by a name in a string."""

    def visit(node: ast.AST, *, lazy: bool) -> Iterator[Imported]:
        for name in names_imported_by(node):
            assert isinstance(node, ast.stmt | ast.expr)
            yield Imported(importer, name, node.lineno, lazy)
        # A block for types alone never runs, so it loads nothing.
        inside = (
            lazy
            or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        )
        for child in ast.iter_child_nodes(node):
            yield from visit(child, lazy=inside)

    return visit(ast.parse(source), lazy=False)


def breaks_a_rule(imported: Imported) -> bool:
    importer, name = imported.importer, imported.name
    package = name.partition(".")[0]
    if package in IMPORTERS and not within(importer, *IMPORTERS[package]):
        return True
    if within(importer, HOST) and package == "nacl":
        return not within(name, "nacl.signing")
    if within(importer, HOST) and package == VAULT:
        return not (importer == "awserver.cli" and imported.lazy)
    if within(importer, VAULT) and package == HOST:
        # The tests' composition root runs the same command line as the product.
        allowed = {
            "awvault.localhost": "awserver.app",
            "awvault.testing": "awserver.cli",
        }
        return not within(name, *SHARED, allowed.get(importer, HOST + ".errors"))
    return False


def impure_calls(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                if name in IMPURE_CALLS:
                    yield node.lineno, name


@pytest.mark.parametrize("package", [HOST, VAULT])
def test_each_import_is_allowed(package: str) -> None:
    """No module imports what its room must not know."""
    broken = [
        str(imported)
        for module, path in source_files(package)
        for imported in read_imports(module, path.read_text("utf-8"))
        if breaks_a_rule(imported)
    ]

    assert broken == []


def test_the_pure_rooms_read_no_clock_and_no_file() -> None:
    """crypto, protocol and columns get time and bytes as arguments."""
    found = [
        f"{module}:{line} calls {name}"
        for module, path in source_files(VAULT)
        if within(module, *PURE_ROOMS)
        for line, name in impure_calls(path.read_text("utf-8"))
    ]

    assert found == []


def test_the_host_runs_without_the_vault() -> None:
    """Importing all of the host loads neither the vault nor Argon2."""
    modules = [module for module, _ in source_files(HOST)]
    script = (
        "import importlib, sys\n"
        f"for module in {modules!r}:\n"
        "    importlib.import_module(module)\n"
        "print([name for name in ('awvault', 'argon2') if name in sys.modules])\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("awserver.service.login", "import argon2"),
        ("awserver.service.login", "from nacl.signing import VerifyKey"),
        ("awserver.signatures", "import nacl"),
        ("awserver.signatures", "from nacl import secret"),
        ("awserver.signatures", "def f():\n    import nacl.bindings"),
        ("awserver.app", "def f():\n    from awvault import localhost"),
        ("awserver.app", "importlib.import_module('awvault.localhost')"),
        ("awserver.cli", "from awvault import localhost"),
        ("awserver.service", "import apsw"),
        ("awserver.storage.sqlite", "import sqlite3"),
        ("awserver.storage.sqlite", "from aiohttp import web"),
        ("awvault.journal", "import apsw"),
        ("awvault.vault", "from nacl.bindings import randombytes"),
        ("awvault.vault", "from aiohttp import web"),
        ("awvault.sync.push", "from awserver.http import wire"),
        ("awvault.localhost", "from awserver.config import Settings"),
        ("awvault.testing", "from awserver import app"),
        ("awvault.events", "from awserver import __version__"),
    ],
)
def test_a_forbidden_import_is_found(importer: str, source: str) -> None:
    """Each rule catches the import it is there for."""
    (imported,) = read_imports(importer, source)

    assert breaks_a_rule(imported)


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("awserver.signatures", "from nacl.signing import VerifyKey"),
        ("awserver.cli", "def f():\n    from awvault import localhost"),
        ("awserver.http.wire", "from aiohttp import web"),
        ("awserver.storage.sqlite.database", "import apsw"),
        ("awvault.crypto.envelope", "from nacl import bindings"),
        ("awvault.crypto.passphrase", "from argon2.low_level import Type"),
        ("awvault.vault", "from awserver.storage.base import LogStore"),
        ("awvault.errors", "from awserver import errors"),
        ("awvault.localhost", "from awserver import app"),
    ],
)
def test_an_allowed_import_is_left_alone(importer: str, source: str) -> None:
    """No rule stands in the way of what the rooms are for."""
    (imported,) = read_imports(importer, source)

    assert not breaks_a_rule(imported)
