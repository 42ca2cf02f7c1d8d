"""Every benchmark: `python -m benchmarks [--quick] [--json DIRECTORY]`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import gateway, host, sync, transfer, vault


def main(arguments: Sequence[str] | None = None) -> None:
    """Run them all, one after the other."""
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument(
        "--json", type=Path, metavar="DIRECTORY", help="write one file each there"
    )
    given = parser.parse_args(arguments)
    if given.json is not None:
        given.json.mkdir(exist_ok=True)
    for name, run, extra in (
        ("gateway", gateway.main, ["--side-by-side"]),
        ("vault", vault.main, []),
        ("host", host.main, []),
        ("sync", sync.main, []),
        ("transfer", transfer.main, []),
    ):
        options = ["--quick"] * given.quick
        if given.json is not None:
            options += ["--json", str(given.json / f"{name}.json")]
        run([*extra, *options])
        print()


if __name__ == "__main__":
    main()
