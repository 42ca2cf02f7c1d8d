"""`awvault recovery`: new words, or the use of those there are."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from awvault.cli import options
from awvault.cli.account import insecure_option
from awvault.cli.context import composition_of, run_with_vault
from awvault.cli.secrets import (
    NewSecret,
    choose_passphrase,
    keep_recovery_words,
    known_passphrase,
    new_passphrase_options,
    read_words,
)

if TYPE_CHECKING:
    from awvault.crypto.keys import Passphrase
    from awvault.recovering import Recovery
    from awvault.service import RecoverySet, Service

new_words_option = click.option(
    "--recovery-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the new recovery words to FILE, and do not ask for them.",
)


@click.group("recovery", epilog="Example: awvault recovery new")
def recovery_command() -> None:
    """Make a new recovery key, or use the one you have."""


@recovery_command.command("new", epilog="Example: awvault recovery new")
@options.vault_options
@new_words_option
@options.json_option
@click.pass_context
def new_command(ctx: click.Context, recovery_file: Path | None, as_json: bool) -> None:
    """Make new recovery words; those of before open nothing any more."""
    from awvault.cli.output import print_json
    from awvault.passphrases import text_of
    from awvault.service import RecoveryRequest

    found = known_passphrase(ctx)
    passphrase = text_of(found.passphrase)

    async def work(service: "Service") -> "RecoverySet":
        asked = RecoveryRequest(passphrase=passphrase)
        words = (await service.prepare_recovery(asked)).recovery_words
        keep_recovery_words(words, recovery_file)
        return await service.set_recovery(
            RecoveryRequest(passphrase=passphrase, recovery_words=words)
        )

    done = run_with_vault(ctx, work, found=found)
    if as_json:
        print_json(done)
    else:
        print("The new recovery words count from now on.")


@recovery_command.command(
    "use",
    epilog="Example: awvault recovery use https://aw.example.org --username alice",
)
@click.argument("url")
@options.vault_options
@click.option("--username", required=True, metavar="NAME", help="Your name there.")
@click.option(
    "--words-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Read the recovery words from FILE.",
)
@new_passphrase_options
@new_words_option
@insecure_option
@click.pass_context
def use_command(
    ctx: click.Context,
    url: str,
    *,
    username: str,
    words_file: Path | None,
    new_passphrase_file: Path | None,
    generate: bool,
    recovery_file: Path | None,
    insecure: bool,
) -> None:
    """Give an account a new passphrase, because the old one is forgotten.

    It gets new recovery words too: those that you type now open nothing afterwards.
    Needs no vault. Afterwards, `awvault login` makes a machine a client again, and
    `awvault passphrase check` lets one that is a client go on.
    """
    from awvault.cli.output import note
    from awvault.recovering import Owner, Recovery
    from awvault.sync.channel import host_origin

    origin = host_origin(url, insecure=insecure)
    composition = composition_of(ctx)
    recovery = Recovery(
        Owner(
            url=url,
            insecure=insecure,
            username=username,
            recovery=read_words(words_file),
        ),
        profile=composition.profile,
        random=composition.random,
        step=composition.step,
    )
    wanted = NewSecret(file=new_passphrase_file, generate=generate)
    asyncio.run(
        _use(
            recovery,
            wanted,
            known=[username, origin],
            recovery_file=recovery_file,
        )
    )
    print("The new passphrase and the new recovery words count from now on.")
    note("a machine that is a client takes them over with `awvault passphrase check`")


async def _use(
    recovery: "Recovery",
    wanted: NewSecret,
    *,
    known: list[str],
    recovery_file: Path | None,
) -> None:
    from awvault.crypto.recovery import recovery_words

    new = await recovery.prepare()
    passphrase: Passphrase = choose_passphrase(wanted, known=known, is_for_host=True)
    keep_recovery_words(" ".join(recovery_words(new)), recovery_file)
    await recovery.reset(passphrase, new)
