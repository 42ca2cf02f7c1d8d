"""The account and its host: `register`, `login`, `logout`, `remote` and more."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from awvault.cli import options
from awvault.cli.context import run_with_vault
from awvault.cli.secrets import (
    NewSecret,
    account_passphrase,
    choose_passphrase,
    confirm_deletion,
    is_in_generated_file,
    keep_recovery_words,
    known_passphrase,
    new_passphrase_options,
)

if TYPE_CHECKING:
    from awvault.cli.moving import LoginDone
    from awvault.crypto.keys import Passphrase
    from awvault.passphrases import FoundPassphrase
    from awvault.service import AccountDeleted, Registered, RegisterRequest, Service

insecure_option = click.option(
    "--insecure",
    is_flag=True,
    help="Allow plain http to another machine. Whoever is on the way sees when you"
    " are at work, and can end your sessions.",
)


@click.command(
    "register",
    epilog="Example: awvault register https://aw.example.org --username alice",
)
@click.argument("url")
@options.vault_options
@click.option("--username", required=True, metavar="NAME", help="Your name there.")
@click.option(
    "--invite-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Read the invitation from FILE.",
)
@new_passphrase_options
@click.option(
    "--recovery-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the recovery words to FILE, and do not ask for them.",
)
@insecure_option
@options.json_option
@click.pass_context
def register_command(
    ctx: click.Context,
    url: str,
    *,
    username: str,
    invite_file: Path | None,
    new_passphrase_file: Path | None,
    generate: bool,
    recovery_file: Path | None,
    insecure: bool,
    as_json: bool,
) -> None:
    """Make the account known to a host, which then keeps what you record, sealed.

    The passphrase must be one that nobody who has the host's disk can guess: a weak
    one is refused, and another offered. You are shown 24 recovery words, once.
    """
    from awvault.passphrases import text_of
    from awvault.service import RegisterRequest
    from awvault.sync.channel import host_origin

    origin = host_origin(url, insecure=insecure)
    found = known_passphrase(ctx)
    new = _for_host(
        found,
        NewSecret(file=new_passphrase_file, generate=generate),
        known=[username, origin],
    )
    request = RegisterRequest(
        url=url,
        username=username,
        insecure=insecure,
        invite=None if invite_file is None else _read_invite(invite_file),
        passphrase=text_of(found.passphrase),
        new_passphrase=None if new is None else text_of(new),
    )
    registered = run_with_vault(
        ctx, lambda service: _register(service, request, recovery_file), found=found
    )
    _tell_registered(registered, as_json=as_json)


def _for_host(
    found: "FoundPassphrase", wanted: NewSecret, *, known: list[str]
) -> "Passphrase | None":
    """Return a new passphrase where one is wanted, or the one there is is too weak."""
    from awvault.errors import WeakPassphraseError
    from awvault.strength import require_strong
    from awvault.terminals import find_terminal

    if not wanted.is_wanted:
        try:
            require_strong(found.passphrase, known=known)
        except WeakPassphraseError as error:
            terminal = find_terminal()
            if terminal is None:
                raise
            terminal.tell(f"{str(error).capitalize()}.")
        else:
            return None
    return choose_passphrase(
        wanted, known=known, is_for_host=True, is_kept=is_in_generated_file(found)
    )


def _read_invite(file: Path) -> str:
    from awvault.secretfiles import read_short_secret

    return read_short_secret(
        file, what="invitation file", hint="check the file that --invite-file names"
    )


async def _register(
    service: "Service", request: "RegisterRequest", recovery_file: Path | None
) -> "Registered":
    from msgspec.structs import replace

    from awvault.cli.output import note

    prepared = await service.prepare_registration(request)
    if prepared.registered is not None:
        return prepared.registered
    keep_recovery_words(prepared.recovery_words, recovery_file)
    try:
        registered = await service.register(
            replace(request, recovery_words=prepared.recovery_words)
        )
    except Exception:
        if recovery_file is not None:
            note(
                f"{recovery_file} holds words of a try that did not come to its end:"
                " keep it until `awvault register` says whose words count"
            )
        raise
    await _send_all(service)
    return registered


async def _send_all(service: "Service") -> None:
    """Send what was recorded so far, so that a second machine finds it."""
    from awvault.cli.output import note, progress_shown
    from awvault.errors import HostRefusedError, TransportError
    from awvault.service import OperationFailedError

    try:
        with progress_shown("sync") as show:
            await service.sync(show)
    except (TransportError, HostRefusedError, OperationFailedError) as error:
        note(f"what was recorded here is sent later: {error}")


def _tell_registered(registered: "Registered", *, as_json: bool) -> None:
    from awvault.cli.output import note, print_fields, print_json

    if as_json:
        print_json(registered)
    else:
        print_fields(
            [
                ("host", registered.url),
                ("username", registered.username),
                ("account", registered.account_id),
            ]
        )
    match registered.recovery:
        case "an earlier try":
            note(
                "an earlier try had reached the host: the passphrase and the recovery"
                " words of that one count"
            )
        case "before":
            note("the recovery words of before count")
    if registered.passphrase_file is not None:
        note(f"{registered.passphrase_file} holds the new passphrase")
    if registered.passphrase_outdated is not None:
        note(
            f"{registered.passphrase_outdated} still has the old passphrase: change it"
            " before the next start"
        )


@click.command(
    "login", epilog="Example: awvault login https://aw.example.org --username alice"
)
@click.argument("url")
@options.vault_options
@click.option("--username", required=True, metavar="NAME", help="Your name there.")
@click.option(
    "--account-passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Read the account's passphrase from FILE.",
)
@click.option(
    "--label",
    metavar="TEXT",
    help="What you call this machine; sealed. Default: the host name.",
)
@insecure_option
@options.json_option
@click.pass_context
def login_command(
    ctx: click.Context,
    url: str,
    *,
    username: str,
    account_passphrase_file: Path | None,
    label: str | None,
    insecure: bool,
    as_json: bool,
) -> None:
    """Make this machine a client of an account that a host keeps.

    What was recorded here before becomes the account's; the old vault is kept beside
    the new one. Works while aw-server runs: watchers wait for a moment.
    """
    from awvault.cli.moving import log_in
    from awvault.login import Login
    from awvault.moving import this_machine
    from awvault.sync.channel import host_origin

    origin = host_origin(url, insecure=insecure)
    passphrase = account_passphrase(
        account_passphrase_file, username=username, origin=origin
    )
    login = Login(
        url=url,
        insecure=insecure,
        username=username,
        passphrase=passphrase,
        label=this_machine() if label is None else label,
    )
    _tell_logged_in(log_in(ctx, login), as_json=as_json)


def _tell_logged_in(done: "LoginDone", *, as_json: bool) -> None:
    from awvault.cli.output import note, print_fields, print_json
    from awvault.service import counted

    made = done.logged_in
    if as_json:
        print_json(made)
    else:
        print_fields(
            [
                ("host", made.url),
                ("username", made.username),
                ("account", made.account_id),
                ("client", f"{made.client_id} (number {made.client_number})"),
            ]
        )
    if made.kept is not None:
        note(
            f"{counted(made.events_moved, 'event')} of this machine became the"
            f" account's; the old vault is kept in {made.kept}"
        )
    if made.unreadable_records or made.left_rows:
        left = [
            counted(number, noun)
            for number, noun in (
                (made.unreadable_records, "record"),
                (made.left_rows, "journal row"),
            )
            if number
        ]
        note(
            f"{' and '.join(left)} did not come along: what is in them cannot be read,"
            f" or repeats what did come. {made.kept} has them still"
        )
    for line in done.notes:
        note(line)


@click.command("logout", epilog="Example: awvault logout")
@options.vault_options
@click.option(
    "--delete-account",
    is_flag=True,
    help="Have the host delete the account and all it stored, for good.",
)
@click.option("--yes", is_flag=True, help="Do not ask before the account is deleted.")
@options.json_option
@click.pass_context
def logout_command(
    ctx: click.Context, *, delete_account: bool, yes: bool, as_json: bool
) -> None:
    """Forget the host, and end this client's sessions there.

    The vault stays, and can be used without a host. What the host keeps stays there
    too, unless --delete-account has it deleted: that takes the passphrase, and asks.
    `awvault login` goes back to a host that still has the account.
    """
    from awvault.cli.output import note, print_json

    if delete_account:
        _delete_account(ctx, yes=yes, as_json=as_json)
        return
    if yes:
        raise click.UsageError("--yes goes with --delete-account", ctx)
    out = run_with_vault(ctx, lambda service: service.log_out())
    if as_json:
        print_json(out)
    else:
        print(f"Nothing more goes to {out.url}.")
    if not out.sessions_ended:
        note("it did not answer: this client's session there ends after 30 idle days")


def _delete_account(ctx: click.Context, *, yes: bool, as_json: bool) -> None:
    from awvault.cli.output import note, print_json
    from awvault.passphrases import text_of
    from awvault.service import PassphraseRequest

    found = known_passphrase(ctx)

    async def work(service: "Service") -> "AccountDeleted":
        if not yes:
            confirm_deletion(await service.host_usage(), await service.remote())
        return await service.delete_account(
            PassphraseRequest(passphrase=text_of(found.passphrase))
        )

    done = run_with_vault(ctx, work, found=found)
    if as_json:
        print_json(done)
    else:
        print(f"{done.url} has deleted the account of {done.username}, it says.")
    note(
        "the vault stays here as it is, without a host; so do those of your other"
        " machines: run `awvault logout` there too, for `awvault repair` would put the"
        " account back"
    )


@click.command("remote", epilog="Example: awvault remote")
@options.vault_options
@options.json_option
@click.pass_context
def remote_command(ctx: click.Context, as_json: bool) -> None:
    """Show which host keeps the account."""
    from awvault.cli.output import UNSETTLED, print_fields, print_json, printable

    remote = run_with_vault(ctx, lambda service: service.remote())
    if as_json:
        print_json(remote)
        return
    acknowledged = remote.acknowledged_seq
    print_fields(
        [
            ("host", remote.url),
            ("username", remote.username),
            ("account", remote.account_id),
            ("client", remote.client_id),
            ("last sync", remote.synced or "never"),
            (
                "records of this client there",
                0 if acknowledged is None else acknowledged + 1,
            ),
        ]
    )
    if remote.insecure:
        print("\nPlain http to another machine is allowed.")
    if remote.registration_pending:
        print(
            "\nThe host did not say whether it took the registration: run"
            " `awvault register` again."
        )
    elif remote.attempt_pending:
        print(f"\n{UNSETTLED}")
    for alarm in remote.alarms:
        print(f"\n{printable(alarm)}")


@click.group("clients", epilog="Example: awvault clients list")
def clients_command() -> None:
    """Show the account's clients: every installation that its owner let in."""


@clients_command.command("list", epilog="Example: awvault clients list --json")
@options.vault_options
@options.json_option
@click.pass_context
def list_clients_command(ctx: click.Context, as_json: bool) -> None:
    """List the account's clients, and what of each is here."""
    from awvault.cli.output import print_json, print_table

    clients = run_with_vault(ctx, lambda service: service.clients())
    if as_json:
        print_json(clients)
        return
    print_table(
        ("number", "client", "label", "records", "bytes", ""),
        [
            (
                client.number,
                client.client_id,
                client.label,
                client.records,
                client.stored_bytes,
                "this one" if client.own else "revoked" if client.revoked else "",
            )
            for client in clients
        ],
    )


@click.group("sessions", epilog="Example: awvault sessions list")
def sessions_command() -> None:
    """Show the account's sessions at its host, or end one."""


@sessions_command.command("list", epilog="Example: awvault sessions list --json")
@options.vault_options
@options.json_option
@click.pass_context
def list_sessions_command(ctx: click.Context, as_json: bool) -> None:
    """List the sessions, but for the one that asks."""
    from awvault.cli.output import print_json, print_table

    sessions = run_with_vault(ctx, lambda service: service.sessions())
    if as_json:
        print_json(sessions)
        return
    if not sessions:
        print("No client has a session.")
        return
    print_table(
        ("session", "client", "label", "created", "seen"),
        [
            (s.id, s.client_id, s.client_label or "not a client", s.created, s.seen)
            for s in sessions
        ],
    )


@sessions_command.command(
    "revoke", epilog="Example: awvault sessions revoke 0123456789abcdef"
)
@click.argument("session_id", metavar="SESSION")
@options.vault_options
@click.pass_context
def revoke_session_command(ctx: click.Context, session_id: str) -> None:
    """End a session.

    A client that is still one of the account's begins another when it needs it: to
    keep a client out, revoke the client.
    """
    from awvault.service import SessionRequest

    run_with_vault(
        ctx, lambda service: service.end_session(SessionRequest(id=session_id))
    )
    print(f"Session {session_id} has ended.")
