"""Whatever stores events for others asks the privacy filters first."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2] / "client" / "awvault"
STORES = {"insert_rows", "heartbeat", "correct"}
"""What a vault stores events by."""

OWN = {"vault.py"}
"""Where these are; who uses the library decides what it writes."""


def test_every_way_in_asks_the_filters() -> None:
    """A module that stores events uses `vault.filters` too.

    That it does so in the right place is shown by the tests of each way in.
    """
    ways = {}
    for path in sorted(ROOT.rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        called = {
            node.func.attr
            for node in nodes
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        }
        if called & STORES and path.name not in OWN:
            used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
            ways[path.relative_to(ROOT).as_posix()] = "filters" in used

    assert len(ways) >= 4
    assert all(ways.values()), ways
