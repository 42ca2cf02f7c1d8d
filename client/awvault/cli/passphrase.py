"""`awvault passphrase`: change it, or prove it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from awvault.cli import options
from awvault.cli.context import run_with_vault, settings_of
from awvault.cli.secrets import (
    NewSecret,
    choose_passphrase,
    is_in_generated_file,
    known_passphrase,
    new_passphrase_options,
)

if TYPE_CHECKING:
    from awvault.passphrases import FoundPassphrase
    from awvault.service import PassphraseResult, Service


@click.group("passphrase", epilog="Example: awvault passphrase change")
def passphrase_command() -> None:
    """Change the passphrase, or prove it."""


@passphrase_command.command(
    "change", epilog="Example: awvault passphrase change --generate"
)
@options.vault_options
@new_passphrase_options
@options.json_option
@click.pass_context
def change_command(
    ctx: click.Context, new_passphrase_file: Path | None, generate: bool, as_json: bool
) -> None:
    """Let another passphrase open the account, here and on every client.

    The old one is asked for. The other clients go on, and ask for the new one at
    their next start. The recovery key stays as it is.
    """
    from awvault.passphrases import text_of
    from awvault.service import PassphraseRequest

    old = known_passphrase(ctx)
    wanted = NewSecret(file=new_passphrase_file, generate=generate)

    async def work(service: "Service") -> "PassphraseResult":
        known = await _guesses(service)
        new = choose_passphrase(
            wanted,
            known=known,
            is_for_host=bool(known),
            is_kept=is_in_generated_file(old),
        )
        return await service.change_passphrase(
            PassphraseRequest(
                passphrase=text_of(old.passphrase), new_passphrase=text_of(new)
            )
        )

    _tell(run_with_vault(ctx, work, found=old), as_json=as_json)


@passphrase_command.command("check", epilog="Example: awvault passphrase check")
@options.vault_options
@click.option(
    "--account-passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Prove the passphrase in FILE, whatever opens the vault here.",
)
@options.json_option
@click.pass_context
def check_command(
    ctx: click.Context, account_passphrase_file: Path | None, as_json: bool
) -> None:
    """Prove the passphrase; one that was changed elsewhere is taken over.

    Where it comes from a file of the program or from the keyring, you are asked for
    the one to prove. Where nobody can be asked, --account-passphrase-file names it.
    """
    from awvault.passphrases import text_of
    from awvault.service import PassphraseRequest

    opening, proved = _to_check(ctx, account_passphrase_file)

    async def work(service: "Service") -> "PassphraseResult":
        return await service.check_passphrase(
            PassphraseRequest(passphrase=text_of(proved.passphrase))
        )

    _tell(run_with_vault(ctx, work, found=opening), as_json=as_json)


def _to_check(
    ctx: click.Context, file: Path | None
) -> "tuple[FoundPassphrase, FoundPassphrase]":
    """Return what opens the vault here, and what is to be proved.

    The second is in `file`, or a person is asked for it if there is one; else both
    are the same.
    """
    from awvault.passphrases import (
        FoundPassphrase,
        Source,
        ask_passphrase,
        read_passphrase_file,
    )
    from awvault.terminals import find_terminal

    found = known_passphrase(ctx)
    if file is not None:
        return found, FoundPassphrase(
            passphrase=read_passphrase_file(file), source=Source.FILE, path=file
        )
    terminal = find_terminal()
    if found.source in {Source.PROMPT, Source.FILE} or terminal is None:
        return found, found
    return found, ask_passphrase(settings_of(ctx), terminal)


async def _guesses(service: "Service") -> list[str]:
    """Return what somebody would guess first; nothing where there is no host."""
    from awvault.errors import NoRemoteError
    from awvault.service import OperationFailedError

    try:
        remote = await service.remote()
    except (NoRemoteError, OperationFailedError):
        return []
    return [remote.username, remote.origin]


def _tell(result: "PassphraseResult", *, as_json: bool) -> None:
    from awvault.cli.output import note, print_json

    if as_json:
        print_json(result)
    elif result.changed:
        print("The new passphrase opens the vault.")
    else:
        print("This passphrase opens the vault.")
    if result.passphrase_file is not None:
        note(f"{result.passphrase_file} holds it: keep a copy of that file elsewhere")
    if result.recovery_changed:
        note(
            "other recovery words count than those that were confirmed here: if you do"
            " not have them, `awvault recovery new` makes others"
        )
    if result.passphrase_outdated is not None:
        note(
            f"{result.passphrase_outdated} still has the old one: change it before the"
            " next start"
        )
