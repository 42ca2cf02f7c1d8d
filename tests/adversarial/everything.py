"""A life of a vault with canaries in every field, from the first start to the last.

`live` does everything that localhost mode can do, as a person and watchers
would, with words and times that must never be readable on disk or in a log.
"""

import json
import random
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from urllib.parse import quote

from tests.helpers.canaries import (
    Needle,
    Search,
    number_needles,
    text_needles,
    time_needles,
)
from tests.helpers.processes import Finished, Home

# Letters that no English word, path or number holds; each field has its own.
TEXTS: Final = {
    "app": "Qvxzjwkpfyhbgdnmrtlc",
    "title": "Zwqölfxjyß kvpqzühnmgb",
    "url": "https://jxqzvkwpyf.example/wmzkqjvx?hgq=pzxvkjwq",
    "bucket": "kzqxwvjpmh_bgfyzqxkwv",
    "web bucket": "wjzqkxvphm-qzgbxkwjvf",
    "hidden bucket": "vkqzjxwhgp_mzqkxbwjvh",
    "hostname": "xzkvqjwmpg-hbqzxkvwjy",
    "event type": "pqzxkjvwhg.mbzqxkwvjf",
    "client": "gqzkxvjwpm-hfbzqxwkvj",
    "bucket data": "mqzxvkjwgp hbzqxkvwjf",
    "activity": "hqzkxjvwpg-mfbzqxkwvj",
    "activity note": "jqzxkvwhpg mbfzqxkwvy",
    "label": "bqzxjkvwhp gmfzqxkvwy",
    "corrected title": "fqzkjxvwhp bgmzqxkvwj",
    "added": "yqzxkjvwhp bmgfzqxkvw",
    "setting": "tqzxkjvwhp bmgwfzqxkv",
    "filtered": "rqzxkjvwhp bmgfzyqxkv",
    "refused": "wqzxkjvyhp bmgfzqxkvh",
    "passphrase": "cqzkxjvwhp-bmzqxkvwgf-jhzqxkwvpm",
}

MOMENTS_US: Final = {
    "heartbeat time": 1_942_234_661_271_828,
    "insert time": 1_973_356_937_314_159,
    "bulk time": 2_012_345_678_577_215,
    "activity time": 2_045_678_123_161_803,
    "corrected time": 2_087_654_321_693_147,
    "bucket created": 2_101_987_654_141_421,
}
"""Each lies years from the others and from now, so none is met by chance."""

DURATIONS_US: Final = {
    "heartbeat duration": 123_457_654_321,
    "insert duration": 234_567_898_765,
    "corrected duration": 345_678_912_347,
}

BULK_EVENTS: Final = 300
BULK_DIGITS: Final = 1_000
"""Of each event of a bulk: together more than a journal keeps unsealed."""


def needles() -> dict[str, list[Needle]]:
    """Return every form of every canary."""
    made = {name: list(text_needles(name, text)) for name, text in TEXTS.items()}
    made |= {name: list(time_needles(name, us)) for name, us in MOMENTS_US.items()}
    made |= {name: list(number_needles(name, us)) for name, us in DURATIONS_US.items()}
    return made


def iso(name: str) -> str:
    whole, fraction = divmod(MOMENTS_US[name], 1_000_000)
    moment = datetime.fromtimestamp(whole, UTC).replace(microsecond=fraction)
    return moment.isoformat()


class Reachable(Protocol):
    """A server, in a process of its own or in this one."""

    port: int

    @property
    def url(self) -> str: ...


@dataclass(slots=True)
class Here:
    """A gateway in this process, to be called from another thread."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(slots=True)
class Life:
    """What the programs wrote where anybody may look."""

    home: Home
    search: Search = field(default_factory=lambda: Search(needles()))
    outputs: dict[str, bytes] = field(default_factory=dict)
    """What commands printed that must show nothing, and all standard error."""
    shown: dict[str, bytes] = field(default_factory=dict)
    """What commands printed whose job is to show events."""
    files_seen: set[str] = field(default_factory=set)
    ids: list[int] = field(default_factory=list)

    def call(
        self,
        server: Reachable,
        method: str,
        path: str,
        value: object = None,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        if value is not None:
            body = json.dumps(value).encode()
        request = urllib.request.Request(  # noqa: S310 - our own server
            server.url + path,
            data=body,
            method=method,
            headers={"Content-Type": "application/json"} | (headers or {}),
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def good(
        self, server: Reachable, method: str, path: str, value: object = None
    ) -> Any:
        status, body = self.call(server, method, path, value)
        assert status == 200, (method, path, status, body)
        return json.loads(body)

    def command(
        self, *arguments: str, stdin: bytes = b"", shows: bool = False, status: int = 0
    ) -> Finished:
        """Run a command; keep what it printed where it belongs."""
        done = self.home.run(*arguments, stdin=stdin)
        name = f"{len(self.outputs)} awvault {arguments[0]}"
        assert done.status == status, (arguments, done.status, done.stderr)
        self.outputs[f"standard error of {name}"] = done.stderr
        if shows:
            self.shown[name] = done.stdout
        else:
            self.outputs[f"standard output of {name}"] = done.stdout
        return done

    def look(self, when: str) -> None:
        """Check every file under the home, and all output so far."""
        own = frozenset({self.home.passphrase_file.name})
        seen = self.search.check_tree(self.home.directory, but=own)
        assert seen >= 2, when
        self.files_seen |= {path.name for path in self.home.data_dir.iterdir()}
        for name, output in self.outputs.items():
            self.search.check(f"{name}, {when}", output)
        for server in self.home.servers:
            self.search.check(f"standard output of aw-server, {when}", server.stdout)

    def output(self) -> Iterator[tuple[str, bytes]]:
        """Yield every log and output that must show nothing, by name."""
        yield from self.outputs.items()
        for at, server in enumerate(self.home.servers):
            yield f"standard output of aw-server {at}", server.stdout
            yield f"standard error of aw-server {at}", server.stderr_file.read_bytes()


def live(life: Life, *, is_dear: bool = False) -> None:
    """Do everything, and look at the disk while it runs, killed, and stopped.

    With `is_dear`, each opening of the vault costs as much as the product has it
    cost: then, without a server, only commands that write and read everything run.
    """
    home = life.home
    server = home.serve()
    watch(life, server)
    be_refused(life, server)
    _commands(life)
    life.look("while it runs")
    assert {"vault.db", "vault.db-wal", "vault.db-shm"} <= life.files_seen
    server.kill()
    life.look("after SIGKILL")
    if is_dear:
        _add(life)
        life.command("export", shows=True)
        life.command("verify", "--json")
    else:
        _commands(life, "--json")
    life.look("without a server")
    server = home.serve()
    _watch_again(life, server)
    life.look("while it runs again")
    status, _ = server.terminate()
    assert status == 0
    life.look("after a clean stop")


def watch(life: Life, server: Reachable) -> None:
    """What watchers and the owner's own scripts send."""
    bucket, web = quote(TEXTS["bucket"]), quote(TEXTS["web bucket"])
    described = {
        "type": TEXTS["event type"],
        "client": TEXTS["client"],
        "hostname": TEXTS["hostname"],
        "data": {"note": TEXTS["bucket data"], TEXTS["label"]: 1},
        "created": iso("bucket created"),
    }
    life.good(server, "POST", f"/api/0/buckets/{bucket}", described)
    for name, kind in (
        (web, "web.tab.current"),
        (quote(TEXTS["hidden bucket"]), TEXTS["event type"]),
    ):
        body = described | {"type": kind}
        life.good(server, "POST", f"/api/0/buckets/{name}", body)
    inserted: dict[str, object] = {}
    window = {"app": TEXTS["app"], "title": TEXTS["title"]}
    tab = {"url": TEXTS["url"], "title": TEXTS["title"]}
    for name, data in ((bucket, window), (web, tab)):
        path = f"/api/0/buckets/{name}"
        for duration in (0.0, 5.5, DURATIONS_US["heartbeat duration"] / 1e6):
            life.good(
                server,
                "POST",
                f"{path}/heartbeat?pulsetime=60.0",
                {
                    "timestamp": iso("heartbeat time"),
                    "duration": duration,
                    "data": data,
                },
            )
        inserted = {
            "timestamp": iso("insert time"),
            "duration": DURATIONS_US["insert duration"] / 1e6,
            "data": data,
        }
        made = life.good(server, "POST", f"{path}/events", inserted)
        life.ids.append(made[0]["id"])
        made = life.good(server, "POST", f"{path}/events", [inserted] * 3)
        _correct(life, server, path, made[0]["id"])
        deleted = f"{path}/events/{made[1]['id']}"
        assert life.good(server, "DELETE", deleted)["success"]
        _bulk(life, server, path, data)
    hidden = quote(TEXTS["hidden bucket"])
    path = f"/api/0/buckets/{hidden}"
    life.good(server, "POST", f"{path}/events", inserted)
    life.good(server, "DELETE", f"{path}?force=1")
    life.good(server, "POST", path, described)
    activity = f"/api/0/activity/{quote(TEXTS['activity'])}"
    for timestamp in (iso("activity time"), [iso("activity time")] * 2):
        life.good(
            server,
            "POST",
            activity,
            {
                "timestamp": timestamp,
                "label": [TEXTS["label"]],
                "note": TEXTS["activity note"],
            },
        )
    _filter(life, server, f"/api/0/buckets/{bucket}")
    _read(life, server)


def _filter(life: Life, server: Reachable, path: str) -> None:
    """A setting, and an event that a rule keeps out, in whatever form it comes."""
    word = TEXTS["filtered"]
    life.good(server, "POST", "/api/0/settings/classes", [TEXTS["setting"]])
    rules = [{"action": "drop", "bucket_prefix": TEXTS["bucket"], "text": word}]
    life.good(server, "POST", "/api/0/settings/privacy_filters", rules)
    event = {"timestamp": iso("insert time"), "data": {"title": word}}
    life.good(server, "POST", f"{path}/heartbeat?pulsetime=1", event)
    life.good(server, "POST", f"{path}/events", [event])
    life.good(server, "GET", "/api/0/settings")


def _correct(life: Life, server: Reachable, path: str, event_id: int) -> None:
    corrected = {
        "id": event_id,
        "timestamp": iso("corrected time"),
        "duration": DURATIONS_US["corrected duration"] / 1e6,
        "data": {"title": TEXTS["corrected title"]},
    }
    life.good(server, "POST", f"{path}/events", corrected)


def _bulk(life: Life, server: Reachable, path: str, data: dict[str, str]) -> None:
    """So much that the server seals records before it answers."""
    generator = random.Random(11)
    life.good(
        server,
        "POST",
        f"{path}/events",
        [
            {
                "timestamp": iso("bulk time"),
                "duration": DURATIONS_US["insert duration"] / 1e6,
                "data": data | {"x": generator.randbytes(BULK_DIGITS).hex()},
            }
            for _ in range(BULK_EVENTS)
        ],
    )


def _read(life: Life, server: Reachable) -> None:
    """What the dashboard and scripts ask for: canaries stand in the query too."""
    bucket = f"/api/0/buckets/{quote(TEXTS['bucket'])}"
    span = f"start={quote(iso('heartbeat time'))}&end={quote(iso('corrected time'))}"
    life.good(server, "GET", "/api/0/buckets/")
    life.good(server, "GET", bucket)
    life.good(server, "GET", f"{bucket}/events?{span}")
    life.good(server, "GET", f"{bucket}/events?limit=5")
    life.good(server, "GET", f"{bucket}/events/count?{span}")
    life.good(server, "GET", f"{bucket}/events/{life.ids[0]}")
    life.good(server, "GET", f"/api/0/activity/{quote(TEXTS['activity'])}")


def be_refused(life: Life, server: Reachable) -> None:
    """Requests that are wrong in every way, with a canary in the wrong place."""
    word, bucket = TEXTS["refused"], f"/api/0/buckets/{quote(TEXTS['bucket'])}"
    plain = {"timestamp": iso("insert time"), "data": {"app": word}}
    settings = "/api/0/settings"
    rule = json.dumps([{"action": "drop", "pattern": f"({word}"}]).encode()
    wrong: list[tuple[str, str, bytes | None, dict[str, str]]] = [
        ("POST", f"{settings}/privacy_filters", rule, {}),
        ("POST", f"{settings}/{quote(word) * 10}", b"1", {}),
        ("POST", f"{settings}/a", b"{%s" % word.encode(), {}),
        ("GET", f"/api/0/buckets/{quote(word)}", None, {}),
        ("GET", f"/api/0/{quote(word)}", None, {}),
        ("GET", f"/{quote(word)}?{quote(word)}={quote(word)}", None, {}),
        ("GET", f"{bucket}/events?start={quote(word)}", None, {}),
        ("GET", f"{bucket}/events?limit={quote(word)}", None, {}),
        ("GET", f"{bucket}/events/{quote(word)}", None, {}),
        ("POST", f"{bucket}/events", b'{"data": {"a": "%s"' % word.encode(), {}),
        ("POST", f"{bucket}/events", b'"%s"' % word.encode(), {}),
        ("POST", f"{bucket}/events", json.dumps({word: word}).encode(), {}),
        ("POST", f"{bucket}/events", json.dumps(plain).encode(), {"Host": word}),
        (
            "POST",
            f"{bucket}/events",
            json.dumps(plain).encode(),
            {"Content-Type": f"text/{quote(word)}"},
        ),
        (
            "POST",
            f"{bucket}/events",
            json.dumps(plain).encode(),
            {"Origin": f"https://{quote(word)}.example"},
        ),
        (
            "POST",
            f"{bucket}/events",
            json.dumps(plain | {"duration": word}).encode(),
            {},
        ),
        (
            "POST",
            f"{bucket}/events",
            json.dumps(plain | {"timestamp": word}).encode(),
            {},
        ),
        (
            "POST",
            f"{bucket}/heartbeat?pulsetime={quote(word)}",
            json.dumps(plain).encode(),
            {},
        ),
        ("POST", f"/api/0/activity/{quote(word)}", b"{%s" % word.encode(), {}),
        ("PUT", f"/api/0/activity/{quote(word)}", b"{}", {}),
        (
            "POST",
            f"{bucket}/events",
            json.dumps(plain | {"data": {"a": 1}}).encode()[:-2] + b',"n":NaN}}',
            {},
        ),
    ]
    for method, path, body, headers in wrong:
        status, _ = life.call(server, method, path, body=body, headers=headers)
        assert 400 <= status < 500, (method, path, status)
    for raw in (
        word.encode() + b"\r\n\r\n",
        b"GET /" + word.encode() + b" HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + word.encode() + b"\r\n\r\n",
        b"POST /api/0/buckets/x HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: " + word.encode() + b"\r\n\r\n" + word.encode(),
    ):
        with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass


def _add(life: Life) -> None:
    life.command(
        "add",
        TEXTS["bucket"],
        json.dumps({"note": TEXTS["added"]}),
        "--timestamp",
        iso("insert time"),
        shows=True,
    )


def _commands(life: Life, *form: str) -> None:
    """Every command of `awvault`, through the server or without one."""
    _add(life)
    life.command("buckets", *form, shows=True)
    life.command("events", TEXTS["bucket"], *form, shows=True)
    exported = life.command("export", shows=True)
    life.command("import", "-", stdin=exported.stdout, shows=True)
    for command in ("verify", "host-view", "status", "usage", "doctor"):
        life.command(command, *form)
    # And what goes wrong on a command line. The first repeats the name that was
    # typed, to whoever typed it; the log of the server must not.
    assert life.home.run("events", TEXTS["refused"]).status == 1
    life.command("import", "-", stdin=TEXTS["refused"].encode(), status=1)
    life.command("import", "-", stdin=exported.stdout[:-30], shows=True, status=1)


def _watch_again(life: Life, server: Reachable) -> None:
    bucket = f"/api/0/buckets/{quote(TEXTS['bucket'])}"
    beat = {
        "timestamp": iso("corrected time"),
        "duration": DURATIONS_US["corrected duration"] / 1e6,
        "data": {"app": TEXTS["app"], "title": TEXTS["corrected title"]},
    }
    life.good(server, "POST", f"{bucket}/heartbeat?pulsetime=10", beat)
    _read(life, server)
