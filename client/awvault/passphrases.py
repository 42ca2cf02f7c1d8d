"""Where the passphrase comes from.

In this order: `--passphrase-file`, `AWVAULT_PASSPHRASE_FILE`, the operating
system's keyring (if the extra is installed), the file that an earlier start
generated, a prompt on a terminal. If none of these has one, no vault exists yet,
and nobody can answer a prompt, a passphrase is generated and written to the
configuration directory. docs/guide/passphrase.md says what that protects.

Nothing here logs, and no message holds a passphrase.
"""

import enum
import hashlib
import importlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from awvault import secretfiles
from awvault.crypto.keys import Passphrase
from awvault.errors import WrongPassphraseError
from awvault.files import replace_private, sync_directory, write_private
from awvault.secretfiles import SecretFileError, read_secret_text
from awvault.settings import Settings, make_private_directory

PASSPHRASE_BYTES_MAX: Final = 1024
GENERATED_WORDS: Final = 6
PROMPT_TRIES: Final = 3
"""How often a person may mistype."""
EASY_CHARS_MAX: Final = 11
"""A new passphrase this short is called easy to guess."""
KEYRING_SERVICE: Final = "awvault"
STAGED_SUFFIX: Final = ".next"
"""Of the file with the passphrase that a generated file is about to hold."""


_FILE: Final = "passphrase file"


class PassphraseError(SecretFileError):
    """No passphrase could be had, or its file must not be trusted."""


class StagedPassphraseError(PassphraseError):
    """A change of the passphrase is not settled, and its file is kept until it is."""

    def __init__(self, path: Path) -> None:
        """Say which file holds the new passphrase, and how to go on."""
        super().__init__(
            "a change of the passphrase was sent, and whether it counts is not known"
            f' yet: "{path}" keeps the new one',
            hint="once the host can be reached, `awvault passphrase check` tells;"
            f" `awvault passphrase change --new-passphrase-file {path}` makes the same"
            " change again",
        )


class Source(enum.Enum):
    """Where a passphrase was found."""

    FILE = "file"
    KEYRING = "keyring"
    GENERATED_FILE = "generated file"
    PROMPT = "prompt"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPassphrase:
    """A passphrase and where it came from."""

    passphrase: Passphrase
    source: Source
    # The file it was read from or written to.
    path: Path | None = None
    # True: it was made just now, and the file is new.
    generated: bool = False


class Terminal(Protocol):
    """Somebody who can be asked."""

    def ask(self, prompt: str) -> str:
        """Return one line, not echoed. Raises EOFError or KeyboardInterrupt."""

    def tell(self, message: str) -> None:
        """Show one line."""


KeyringLookup = Callable[[str, str], str | None]


def find_passphrase(
    settings: Settings,
    *,
    vault_exists: bool,
    terminal: Terminal | None,
    lookup: KeyringLookup | None = None,
) -> FoundPassphrase:
    """Return the passphrase for `settings.data_dir`, or raise `PassphraseError`.

    Asks only through `terminal`; None: nobody can answer. Generates one only
    where no vault exists, and then the file is on disk before this returns. It
    does not know whether the passphrase is the right one.
    """
    if settings.passphrase_file is not None:
        return FoundPassphrase(
            passphrase=read_passphrase_file(settings.passphrase_file),
            source=Source.FILE,
            path=settings.passphrase_file,
        )
    name = entry_name(settings.data_dir)
    stored = (lookup or lookup_keyring)(KEYRING_SERVICE, name)
    if stored is not None:
        return FoundPassphrase(
            passphrase=_checked(stored, origin="the keyring's passphrase"),
            source=Source.KEYRING,
        )
    generated = generated_file(settings)
    # lexists: a link that leads nowhere is refused, not taken for absence.
    if os.path.lexists(generated):
        return FoundPassphrase(
            passphrase=read_passphrase_file(generated),
            source=Source.GENERATED_FILE,
            path=generated,
        )
    if terminal is not None:
        return FoundPassphrase(
            passphrase=_ask(terminal, settings.data_dir, new=not vault_exists),
            source=Source.PROMPT,
        )
    if vault_exists:
        raise PassphraseError(
            f'the vault in "{settings.data_dir}" needs its passphrase,'
            " and nobody can be asked here",
            hint="neither --passphrase-file nor AWVAULT_PASSPHRASE_FILE names a file,"
            f' the keyring has none, and there is no "{generated}":'
            " name a file that holds it, or start this on a terminal",
        )
    return FoundPassphrase(
        passphrase=_generate(generated),
        source=Source.GENERATED_FILE,
        path=generated,
        generated=True,
    )


def ask_passphrase(settings: Settings, terminal: Terminal) -> FoundPassphrase:
    """Ask for a vault's passphrase, whatever is stored. Raises `PassphraseError`."""
    return FoundPassphrase(
        passphrase=_ask(terminal, settings.data_dir, new=False), source=Source.PROMPT
    )


def ask_again(settings: Settings, terminal: Terminal) -> FoundPassphrase:
    """Ask for a vault's passphrase once more. Raises `PassphraseError`."""
    terminal.tell("This passphrase does not open the vault. Once more.")
    return ask_passphrase(settings, terminal)


def wrong_passphrase(found: FoundPassphrase) -> WrongPassphraseError:
    """Return the error that says which passphrase does not open the vault."""
    match found.source:
        case Source.PROMPT:
            return WrongPassphraseError(hint="try again")
        case Source.KEYRING:
            return WrongPassphraseError(
                "the keyring's passphrase",
                hint="name a file that holds the right one with --passphrase-file",
            )
        case Source.GENERATED_FILE:
            hint = (
                "that file belongs to this data directory: if the vault was copied"
                " here from elsewhere, its passphrase is the one from there"
            )
        case _:
            hint = (
                "--passphrase-file, AWVAULT_PASSPHRASE_FILE or config.toml names that"
                " file: is it the one of this vault?"
            )
    return WrongPassphraseError(f'the passphrase in "{found.path}"', hint=hint)


def describe_generated(path: Path) -> list[str]:
    """Return what to tell a person when one was generated, line by line."""
    return [
        f"a passphrase was generated and written to {path}",
        "keep a copy of it somewhere else: without it nobody can read your data",
        "it protects copies of the data directory (such as a backup), not this machine",
    ]


def describe_making(settings: Settings, found: FoundPassphrase) -> list[str]:
    """Return what to tell a person when a vault is made, line by line."""
    lines = [f"a new vault is made in {settings.data_dir}"]
    if found.generated and found.path is not None:
        return lines + describe_generated(found.path)
    if found.source is Source.GENERATED_FILE:
        lines.append(
            f"its passphrase is the one in {found.path}, which was there before: if"
            " this directory had a vault, it is gone, and a backup has it"
        )
    return lines


def entry_name(data_dir: Path) -> str:
    """Return the name under which a data directory's passphrase is kept."""
    path = os.path.normcase(str(data_dir.resolve()))
    digest = hashlib.blake2b(os.fsencode(path), digest_size=16)
    return f"passphrase-{digest.hexdigest()}"


def generated_file(settings: Settings) -> Path:
    """Return where the generated passphrase of this directory is, or would be."""
    return settings.config_dir / entry_name(settings.data_dir)


def read_passphrase_file(path: Path) -> Passphrase:
    """Return the passphrase in `path`: its content less one newline at the end.

    Raises `PassphraseError` if it is missing, empty, too long, not UTF-8, not a
    plain file, or readable or writable by others.
    """
    text = read_secret_text(
        path,
        what=_FILE,
        bytes_max=PASSPHRASE_BYTES_MAX,
        hint="check the spelling of --passphrase-file, AWVAULT_PASSPHRASE_FILE or"
        " config.toml, and that the file belongs to the user who runs this",
        error=PassphraseError,
    )
    return _checked(text, origin=f'{_FILE} "{path}"')


def check_private(path: Path, status: os.stat_result) -> None:
    """Raise `PassphraseError` unless `path` is a plain file for its owner alone."""
    secretfiles.check_private(path, status, what=_FILE, error=PassphraseError)


def _checked(text: str, *, origin: str) -> Passphrase:
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise PassphraseError(f"{origin} is not valid text") from None
    if size == 0:
        raise PassphraseError(f"{origin} is empty")
    if size > PASSPHRASE_BYTES_MAX:
        raise PassphraseError(f"{origin} is longer than {PASSPHRASE_BYTES_MAX} bytes")
    return Passphrase(text)


def _ask(terminal: Terminal, data_dir: Path, *, new: bool) -> Passphrase:
    try:
        if not new:
            question = f"Passphrase of the vault in {data_dir}: "
            return Passphrase(_answer(terminal, question))
        terminal.tell(f"There is no vault in {data_dir} yet: this makes one.")
        terminal.tell(
            "Choose its passphrase. Nobody can reset it: without it, the data is lost."
        )
        for _ in range(PROMPT_TRIES):
            text = _answer(terminal, "New passphrase: ")
            if len(text) <= EASY_CHARS_MAX:
                terminal.tell(
                    f"This is easy to guess: fewer than {EASY_CHARS_MAX + 1}"
                    " characters. Six words are not, such as:"
                    f" {generate_words()}"
                )
            if terminal.ask("The same again: ") == text:
                return Passphrase(text)
            terminal.tell("These two differ. Once more.")
    except EOFError:
        raise PassphraseError("no passphrase was given") from None
    raise PassphraseError(f"the two passphrases differed {PROMPT_TRIES} times")


def _answer(terminal: Terminal, question: str) -> str:
    """Ask until the answer can be a passphrase. Raises EOFError."""
    while True:
        text = terminal.ask(question)
        try:
            _checked(text, origin="the passphrase")
        except PassphraseError as error:
            terminal.tell(f"{str(error).capitalize()}. Once more.")
        else:
            return text


def _generate(path: Path) -> Passphrase:
    """Make six words and write them once; the file is durable before the return."""
    words = generate_words()
    _write(path, words.encode("ascii") + b"\n")
    return Passphrase(words)


def stage_passphrase(path: Path, passphrase: Passphrase) -> bool:
    """Write what `path` will hold, beside it, before a change is under way.

    A generated file and the vault cannot change in one step. So the next
    passphrase is on disk before the change, and takes the file's place after it
    (`promote_staged`); a start that finds the old one outdated tries the next.

    Return False if it was there before. Raises `StagedPassphraseError` if another
    one is: that may be the only copy of the one that counts.
    """
    before = staged_passphrase(path)
    if before is None:
        _write_staged(path, passphrase)
        return True
    if before != passphrase:
        raise StagedPassphraseError(staged_file(path))
    return False


def staged_passphrase(path: Path) -> Passphrase | None:
    """Return the next passphrase of a generated file; None: there is none."""
    staged = staged_file(path)
    # lexists: a link that leads nowhere is refused, not taken for absence.
    return read_passphrase_file(staged) if os.path.lexists(staged) else None


def holds(path: Path, passphrase: Passphrase) -> bool:
    """Tell whether a file has this very passphrase already."""
    try:
        return read_passphrase_file(path) == passphrase
    except PassphraseError:
        return False


def promote_staged(path: Path) -> None:
    """Let the next passphrase take the place of the one in `path`."""
    staged_file(path).replace(path)
    sync_directory(path.parent)


def drop_staged(path: Path) -> None:
    """Forget the next passphrase: what it was for did not happen.

    Only for one that is known to open nothing.
    """
    staged_file(path).unlink(missing_ok=True)
    sync_directory(path.parent)


def staged_file(path: Path) -> Path:
    """Return where the next passphrase of a generated file is, or would be."""
    return path.with_name(path.name + STAGED_SUFFIX)


def text_of(passphrase: Passphrase) -> str:
    """Return a passphrase as it travels to who does the work with it."""
    return passphrase.reveal().decode()


def _write_staged(path: Path, passphrase: Passphrase) -> None:
    # Whole or not at all: what a power cut leaves of it must not stand in the way.
    _write(staged_file(path), passphrase.reveal() + b"\n", write=replace_private)


def _write(
    path: Path,
    content: bytes,
    *,
    write: Callable[[Path, bytes], None] = write_private,
) -> None:
    make_private_directory(path.parent)
    try:
        write(path, content)
    except OSError as error:
        raise PassphraseError(
            f'cannot write passphrase file "{path}": {error.strerror or error}',
            hint="make its directory writable, or name a file of your own with"
            " --passphrase-file",
        ) from error


def generate_words() -> str:
    """Return six words of the 2,048 English ones of BIP-39: 66 bits."""
    # Imported here: only the first start of an unattended machine needs it.
    from mnemonic import Mnemonic

    wordlist = Mnemonic("english").wordlist
    return " ".join(secrets.choice(wordlist) for _ in range(GENERATED_WORDS))


def lookup_keyring(service: str, name: str) -> str | None:
    """Ask the operating system's keyring. None: no keyring, or nothing in it.

    A keyring that fails is the same as none: on a machine without a desktop that
    is the rule, and the other sources follow.
    """
    try:
        keyring = importlib.import_module("keyring")
    except ImportError:
        return None
    try:
        found = keyring.get_password(service, name)
    except Exception:  # noqa: BLE001 - each backend raises errors of its own
        return None
    return found if isinstance(found, str) else None
