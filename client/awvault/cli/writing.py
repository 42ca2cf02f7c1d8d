"""`awvault add`."""

import json
import sys
from typing import Final

import click

from awvault.cli import options
from awvault.cli.context import run_with_vault
from awvault.cli.parameters import SECONDS, TIME

DATA_BYTES_MAX: Final = 1024 * 1024


@click.command(
    "add",
    epilog='Example: awvault add notes \'{"text": "went for a walk"}\' --type note',
)
@click.argument("bucket")
@click.argument("data", required=False)
@click.option(
    "--type", "bucket_type", metavar="TYPE", help="Make the bucket if missing."
)
@click.option("--timestamp", type=TIME, metavar="TIME", help="Its start. Default: now.")
@click.option(
    "--duration",
    type=SECONDS,
    metavar="SECONDS",
    help="How long it took. Default: an event without an end.",
)
@options.vault_options
@options.json_option
@click.pass_context
def add_command(
    ctx: click.Context,
    bucket: str,
    data: str | None,
    bucket_type: str | None,
    timestamp: int | None,
    duration: int | None,
    as_json: bool,
) -> None:
    """Store one event in BUCKET, with DATA, a JSON object.

    Without DATA, or with -, it is read from standard input. What other users of
    this machine must not see does not belong in an argument.
    """
    from awvault.cli.output import print_json, printable
    from awvault.service import AddRequest

    if data is None and sys.stdin.isatty():
        raise click.UsageError("DATA is missing; with -, it is read from here")
    text = _read_data() if data is None or data == "-" else data
    _check_json(text)
    request = AddRequest(
        bucket=bucket,
        data=text,
        start=timestamp,
        duration=duration,
        bucket_type=bucket_type,
    )
    added = run_with_vault(ctx, lambda service: service.add(request))
    if as_json:
        print_json(added)
        return
    print(f"event {added.id} at {added.timestamp} in {printable(added.bucket)}")


def _read_data() -> str:
    raw = sys.stdin.buffer.read(DATA_BYTES_MAX + 1)
    if len(raw) > DATA_BYTES_MAX:
        raise click.UsageError(f"DATA is longer than {DATA_BYTES_MAX} bytes")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise click.UsageError("DATA is not UTF-8") from None


def _check_json(text: str) -> None:
    """Refuse what is no JSON, saying where it breaks; the vault checks the rest."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        # Imported here: most data is right, and this loads a web server.
        from awvault.errors import InvalidInputError
        from awvault.gateway import jsonbodies

        try:
            jsonbodies.load(text.encode("utf-8", "surrogatepass"))
        except InvalidInputError as error:
            raise InvalidInputError("data", str(error)) from None
    except (ValueError, RecursionError):
        return
