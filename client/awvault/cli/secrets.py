"""Passphrases and recovery words, as a command gets them from a person or a file."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from awvault.cli.context import settings_of

if TYPE_CHECKING:
    from awvault.crypto.keys import Passphrase, RecoveryKey
    from awvault.passphrases import FoundPassphrase, Terminal
    from awvault.service import HostUsage, RemoteInfo

CONFIRMED_WORDS: Final = 3
"""How many of the recovery words a person is asked for again."""

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class NobodyToAskError(click.ClickException):
    """A command needs an answer, and nobody can give one."""

    exit_code = 1


class NotConfirmedError(click.ClickException):
    """A person was asked, and did not say yes."""

    exit_code = 1


def is_in_generated_file(found: "FoundPassphrase") -> bool:
    """Whether a file of the program keeps the passphrase, and follows a change."""
    from awvault.passphrases import Source

    return found.source is Source.GENERATED_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret:
    """Where a new passphrase is to come from."""

    file: Path | None
    generate: bool

    @property
    def is_wanted(self) -> bool:
        """Whether the command line says where."""
        return self.generate or self.file is not None


def new_passphrase_options(command: Decorated) -> Decorated:
    """Add the options that say where a new passphrase comes from."""
    command = click.option(
        "--generate",
        is_flag=True,
        help="Make a new passphrase of six words.",
    )(command)
    return click.option(
        "--new-passphrase-file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Read the new passphrase from FILE.",
    )(command)


def known_passphrase(ctx: click.Context) -> "FoundPassphrase":
    """Return the vault's passphrase, from wherever a start would have it."""
    from awvault.passphrases import find_passphrase
    from awvault.terminals import find_terminal

    return find_passphrase(
        settings_of(ctx), vault_exists=True, terminal=find_terminal()
    )


def account_passphrase(
    file: Path | None, *, username: str, origin: str
) -> "Passphrase":
    """Return the passphrase of an account at a host, from a file or a person."""
    from awvault.crypto.keys import Passphrase
    from awvault.passphrases import read_passphrase_file
    from awvault.terminals import find_terminal

    if file is not None:
        return read_passphrase_file(file)
    terminal = find_terminal()
    if terminal is None:
        raise NobodyToAskError(
            "the account's passphrase is needed, and nobody can be asked here: name a"
            " file with --account-passphrase-file"
        )
    return Passphrase(_answer(terminal, f"Passphrase of {username} at {origin}: "))


def choose_passphrase(
    wanted: NewSecret, *, known: Sequence[str], is_for_host: bool, is_kept: bool = False
) -> "Passphrase":
    """Return a new passphrase: from a file, generated, or from a person.

    `known` is what somebody would guess first. Raises `WeakPassphraseError` where
    a host keeps what it opens, and a person cannot choose another; and
    `NobodyToAskError` where nobody could write it down, unless a file keeps it.
    """
    from awvault.crypto.keys import Passphrase
    from awvault.passphrases import generate_words, read_passphrase_file
    from awvault.strength import require_strong
    from awvault.terminals import find_terminal

    terminal = find_terminal()
    if wanted.file is not None:
        passphrase = read_passphrase_file(wanted.file)
        if is_for_host:
            require_strong(passphrase, known=known)
        return passphrase
    if wanted.generate:
        words = generate_words()
        if terminal is not None:
            _show_passphrase(terminal, words)
        elif not is_kept:
            raise NobodyToAskError(
                "nobody can write six new words down here: name a file with a new"
                " passphrase with --new-passphrase-file"
            )
        return Passphrase(words)
    if terminal is None:
        raise NobodyToAskError(
            "a new passphrase is needed, and nobody can be asked here: name a file"
            " with --new-passphrase-file"
        )
    return _ask_new(terminal, known=known, is_for_host=is_for_host)


def _ask_new(
    terminal: "Terminal", *, known: Sequence[str], is_for_host: bool
) -> "Passphrase":
    from awvault.crypto.keys import Passphrase
    from awvault.errors import InvalidInputError, WeakPassphraseError
    from awvault.passphrases import PROMPT_TRIES, PassphraseError, generate_words
    from awvault.strength import require_strong

    words = generate_words()
    terminal.tell("Choose a new passphrase, or press Enter for these six words:")
    terminal.tell(f"\n    {words}\n")
    for _ in range(PROMPT_TRIES):
        text = _answer(terminal, "New passphrase: ") or words
        try:
            passphrase = Passphrase(text)
            if is_for_host:
                require_strong(passphrase, known=known)
        except WeakPassphraseError as error:
            terminal.tell(f"{str(error).capitalize()}. Once more.")
            continue
        except InvalidInputError as error:
            terminal.tell(f"{str(error).capitalize()}. Once more.")
            continue
        if _answer(terminal, "The same again: ") == text:
            return passphrase
        terminal.tell("These two differ. Once more.")
    raise PassphraseError(f"no passphrase was chosen in {PROMPT_TRIES} tries")


def _show_passphrase(terminal: "Terminal", words: str) -> None:
    terminal.tell("The new passphrase. Write it down; nobody can reset it:")
    terminal.tell(f"\n    {words}\n")


def confirm_deletion(usage: "HostUsage", remote: "RemoteInfo") -> None:
    """Have a person type the username of the account that a host is to delete.

    Raises `NobodyToAskError` where nobody is there, and `NotConfirmedError`.
    """
    from awvault.service import bytes_text, counted
    from awvault.terminals import find_terminal

    terminal = find_terminal()
    if terminal is None:
        raise NobodyToAskError(
            "nobody can be asked here whether to delete the account: --yes does it"
            " without asking"
        )
    terminal.tell(
        f"{remote.url} keeps {counted(usage.entries, 'record')}"
        f" ({bytes_text(usage.stored_bytes)}) of {remote.username}, and will have none"
        " of them. What is on this machine stays."
    )
    if _answer(terminal, "Type the username to delete the account there: ") != (
        remote.username
    ):
        raise NotConfirmedError("that is another name: nothing was deleted")


def read_words(file: Path | None) -> "RecoveryKey":
    """Return the recovery key that a person has, from a file or typed.

    Raises `RecoveryWordsError`, which names the place of a mistyped word.
    """
    from awvault.crypto.recovery import read_recovery_words
    from awvault.errors import RecoveryWordsError
    from awvault.passphrases import PROMPT_TRIES
    from awvault.secretfiles import read_short_secret
    from awvault.terminals import find_terminal

    if file is not None:
        return read_recovery_words(
            read_short_secret(
                file,
                what="file with recovery words",
                hint="check the file that --words-file names",
            )
        )
    terminal = find_terminal()
    if terminal is None:
        raise NobodyToAskError(
            "the recovery words are needed, and nobody can be asked here: name a file"
            " with --words-file"
        )
    for tries_left in reversed(range(PROMPT_TRIES)):
        try:
            return read_recovery_words(_answer(terminal, "The 24 recovery words: "))
        except RecoveryWordsError as error:
            if not tries_left:
                raise
            terminal.tell(f"{str(error).capitalize()} Once more.")
    raise AssertionError("the last try returns or raises")


def keep_recovery_words(words: str, file: Path | None) -> None:
    """Write the recovery words to a file, or show them and have them confirmed.

    Raises `NobodyToAskError` where nobody can write them down: then nothing is
    done that would need them.
    """
    from awvault.files import write_private
    from awvault.passphrases import PassphraseError
    from awvault.terminals import find_terminal

    if file is not None:
        try:
            write_private(file, words.encode("ascii") + b"\n")
        except OSError as error:
            raise PassphraseError(
                f'cannot write recovery words to "{file}": {error.strerror or error}',
                hint="name a file that is not there yet, in a directory of yours",
            ) from error
        return
    terminal = find_terminal()
    if terminal is None:
        raise NobodyToAskError(
            "there are recovery words to write down, and nobody to do so: name a file"
            " for them with --recovery-file, and keep it off this machine"
        )
    _confirm(terminal, words.split())


def _confirm(terminal: "Terminal", words: Sequence[str]) -> None:
    """Show the words once, and ask for some of them."""
    terminal.tell(
        "\nYour recovery key. With it, and with nothing else, you get your data back"
        "\nif you forget the passphrase. It is shown once. Write it on paper:\n"
    )
    for row in range(0, len(words), 4):
        line = "  ".join(
            f"{number:>2} {words[number - 1]:<9}" for number in range(row + 1, row + 5)
        )
        terminal.tell(f"    {line.rstrip()}")
    terminal.tell("")
    places = sorted(secrets.SystemRandom().sample(range(len(words)), CONFIRMED_WORDS))
    for place in places:
        while _answer(terminal, f"Word {place + 1}: ").strip().lower() != words[place]:
            terminal.tell("That is not what you were shown. Look again.")


def _answer(terminal: "Terminal", question: str) -> str:
    from awvault.passphrases import PassphraseError

    try:
        return terminal.ask(question)
    except EOFError:
        raise PassphraseError("no answer was given") from None
