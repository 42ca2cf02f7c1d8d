"""Privacy filters, from outside: what they drop or replace is nowhere."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from awvault import filters
from awvault.errors import InvalidInputError
from awvault.filter_service import FilterService
from awvault.filters import RULES_MAX, TIMEOUTS_MAX, convert_rules
from awvault.gateway import GatewaySettings, VaultHolder
from awvault.history import read_history
from awvault.testing import open_vault
from awvault.vault import Vault
from tests.integration.gateway.running import (
    Api,
    event,
    make_bucket,
    serving,
    without_ids,
)

SETTING: Final = "/api/0/settings/privacy_filters"
WINDOW: Final = "aw-watcher-window_box"
CANARY: Final = "canary-7f3a"

DROP: Final = {
    "enabled": True,
    "bucket_prefix": "aw-watcher-window",
    "field": "title",
    "pattern": "(?i)CANARY",
    "action": "drop",
}
REDACT: Final = DROP | {"action": "redact", "replacement": "hidden"}

# Patterns that look at some texts for ages, and a text of that kind.
SLOW_PATTERN: Final = "^(a|aa|a?)+$"
SLOW_TEXT: Final = "a" * 60 + "!"


@dataclass(frozen=True)
class Box:
    """A gateway, and the vault behind it."""

    api: Api
    vault: Vault

    async def use(self, *rules: dict[str, Any]) -> None:
        await self.api.ok("POST", SETTING, list(rules))

    def revisions(self) -> bytes:
        """Return the data of every revision of every event, of whatever bucket."""
        texts: list[bytes] = []
        for bucket_id in self.vault.buckets():
            view = self.vault.view(bucket_id)
            for table, _ in view.parts():
                texts += table.texts
        return b"\n".join(texts)


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    async with (
        await open_vault(tmp_path / "vault") as vault,
        serving(VaultHolder(vault), GatewaySettings()) as api,
    ):
        yield Box(api, vault)


def at(second: int) -> str:
    return f"2024-03-01T10:00:{second:02}+00:00"


async def titles(api: Api, path: str) -> list[str]:
    events = await api.ok("GET", f"{path}/events")
    return [one["data"]["title"] for one in reversed(events)]


async def test_a_dropped_heartbeat_is_answered_and_kept_nowhere(box: Box) -> None:
    """With an event in the shape of any other, that has no id and no data."""
    path = await make_bucket(box.api, WINDOW)
    await box.use(DROP)

    answer = await box.api.ok(
        "POST",
        f"{path}/heartbeat?pulsetime=1",
        event(at(0), 2.5, title=f"my {CANARY}", app="x"),
    )

    assert answer == {"id": None, "timestamp": at(0), "duration": 2.5, "data": {}}
    assert await box.api.ok("GET", f"{path}/events") == []
    assert await box.api.ok("GET", f"{path}/events/count") == 0
    assert CANARY.encode() not in box.revisions()
    # Of rows that were ever written there are the bucket, and the rule with its own.
    assert box.vault.facts().journal_events == 1


async def test_a_redacted_heartbeat_is_stored_in_other_words(box: Box) -> None:
    """The answer shows what was stored; the other fields stay as they are."""
    path = await make_bucket(box.api, WINDOW)
    await box.use(REDACT)

    answer = await box.api.ok(
        "POST",
        f"{path}/heartbeat?pulsetime=1",
        event(at(0), 2.5, title=f"my {CANARY}", app="x"),
    )

    assert answer["data"] == {"title": "hidden", "app": "x"}
    assert await box.api.ok("GET", f"{path}/events") == [answer]
    assert CANARY.encode() not in box.revisions()


async def test_neighbours_of_a_dropped_heartbeat_still_merge(box: Box) -> None:
    """As if it had never come; redacted ones merge with each other."""
    path = await make_bucket(box.api, WINDOW)
    await box.use(DROP, REDACT | {"pattern": "secret"})
    for second, title in enumerate(
        ["a", "a", CANARY, "a", "secret 1", "secret 2", CANARY, "secret 3", "b"]
    ):
        await box.api.ok(
            "POST", f"{path}/heartbeat?pulsetime=5", event(at(second), title=title)
        )

    found = await box.api.ok("GET", f"{path}/events")

    assert without_ids(found) == [
        event(at(8), 0.0, title="b"),
        event(at(4), 3.0, title="hidden"),
        event(at(0), 3.0, title="a"),
    ]
    assert CANARY.encode() not in box.revisions()
    assert b"secret" not in box.revisions()


async def test_an_array_keeps_what_no_rule_drops(box: Box) -> None:
    """What is answered is what was stored, in the order sent."""
    path = await make_bucket(box.api, WINDOW)
    await box.use(DROP, REDACT | {"pattern": "secret"})
    sent = [
        event(at(second), title=title)
        for second, title in enumerate(["a", CANARY, "secret", "b", CANARY])
    ]

    answer = await box.api.ok("POST", f"{path}/events", sent)

    assert [(one["timestamp"], one["data"]["title"]) for one in answer] == [
        (at(0), "a"),
        (at(2), "hidden"),
        (at(3), "b"),
    ]
    assert await box.api.ok("GET", f"{path}/events") == answer[::-1]
    assert await box.api.ok("POST", f"{path}/events", [sent[1], sent[4]]) == []
    assert await box.api.ok("POST", f"{path}/events", sent[1]) == []
    assert await titles(box.api, path) == ["a", "hidden", "b"]
    assert CANARY.encode() not in box.revisions()


async def test_many_events_are_filtered_like_few(box: Box) -> None:
    """They are looked at in a thread."""
    path = await make_bucket(box.api, WINDOW)
    await box.use(DROP)
    sent = [
        event(at(n % 60), title=f"{CANARY if n % 3 else 'kept'} {n}")
        for n in range(900)
    ]

    answer = await box.api.ok("POST", f"{path}/events", sent)

    assert len(answer) == await box.api.ok("GET", f"{path}/events/count") == 300
    assert CANARY.encode() not in box.revisions()


async def test_a_correction_is_filtered_too(box: Box) -> None:
    """One that is dropped leaves the event as it was."""
    path = await make_bucket(box.api, WINDOW)
    one, two = await box.api.ok(
        "POST", f"{path}/events", [event(at(0), title="a"), event(at(1), title="b")]
    )
    await box.use(DROP, REDACT | {"pattern": "secret"})

    answer = await box.api.ok(
        "POST",
        f"{path}/events",
        [
            one | {"data": {"title": CANARY}},
            two | {"data": {"title": "secret"}},
            event(at(2), title=CANARY),
        ],
    )

    assert [(one["id"], one["data"]["title"]) for one in answer] == [
        (two["id"], "hidden")
    ]
    assert await titles(box.api, path) == ["a", "hidden"]
    history = read_history(box.vault.view(WINDOW), start=None, end=None, limit=None)
    assert CANARY not in repr(list(history))


async def test_the_activity_api_is_filtered(box: Box) -> None:
    """By the name of its bucket or its type; the answer shows what was stored."""
    await box.use(
        {"action": "drop", "bucket_type": "browsing", "field": "url", "text": CANARY},
        {"action": "redact", "bucket": "activity_browsing", "text": "secret"},
    )
    path = "/api/0/activity/browsing"

    answer = await box.api.ok(
        "POST",
        path,
        [{"url": CANARY.upper()}, {"url": "x", "label": "a Secret"}, {"url": "y"}],
    )

    assert [{k: one.get(k) for k in ("url", "label")} for one in answer] == [
        {"url": "x", "label": "REDACTED"},
        {"url": "y", "label": None},
    ]
    assert await box.api.ok("GET", path) == answer
    assert await box.api.ok("POST", path, {"url": CANARY}) == []
    assert len(await box.api.ok("GET", path)) == 2


async def test_an_import_is_filtered(box: Box) -> None:
    """And twice is once, also of what was replaced."""
    await box.use(DROP, REDACT | {"pattern": "secret"})
    events = [event(at(n), title=title) for n, title in enumerate((CANARY, "secret"))]
    sent = {
        "buckets": {WINDOW: {"id": WINDOW, "type": "currentwindow", "events": events}}
    }
    for _ in range(2):
        assert (await box.api.post("/api/0/import", sent)).status == 200

        assert await titles(box.api, f"/api/0/buckets/{WINDOW}") == ["hidden"]
    assert CANARY.encode() not in box.revisions()
    assert CANARY not in (await box.api.get("/api/0/export")).body.decode()


PRIVATE: Final[dict[str, Any]] = {
    "url": "https://x.example/",
    "title": "t",
    "incognito": True,
}


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ({"action": "drop", "incognito": True}, None),
        ({"action": "drop", "field": "incognito", "pattern": "^true$"}, None),
        ({"action": "drop", "field": "url", "text": "X.EXAMPLE"}, None),
        ({"action": "drop", "text": "x.example"}, None),
        ({"action": "drop", "bucket_type": "web.tab.current"}, None),
        ({"action": "drop", "bucket": "web"}, None),
        ({"action": "drop", "bucket_prefix": "w"}, None),
        (
            {"action": "redact", "incognito": True},
            PRIVATE | {"url": "REDACTED", "title": "REDACTED"},
        ),
        (
            {"action": "redact", "bucket": "web", "redact": ["url"]},
            PRIVATE | {"url": "REDACTED"},
        ),
        (
            {"action": "redact", "field": "url", "text": "x.", "redact": ["title"]},
            PRIVATE | {"title": "REDACTED"},
        ),
        ({"action": "drop", "enabled": False, "incognito": True}, PRIVATE),
        ({"action": "drop", "bucket": "we", "incognito": True}, PRIVATE),
        ({"action": "drop", "bucket_prefix": "x", "incognito": True}, PRIVATE),
        ({"action": "drop", "bucket_type": "web", "incognito": True}, PRIVATE),
        ({"action": "drop", "field": "title", "text": "x.example"}, PRIVATE),
        ({"action": "drop", "field": "titl", "pattern": "t"}, PRIVATE),
        ({"action": "drop", "incognito": True, "text": "elsewhere"}, PRIVATE),
        ({"action": "drop", "pattern": "X.EXAMPLE"}, PRIVATE),
    ],
)
async def test_what_rules_are_for(
    box: Box, rule: dict[str, Any], kept: dict[str, Any] | None
) -> None:
    """Each kind of condition, where it holds and where it does not."""
    body = {"type": "web.tab.current", "client": "c", "hostname": "h"}
    assert (await box.api.post("/api/0/buckets/web", body)).status == 200
    await box.use(rule)

    sent = event(at(0), **PRIVATE)
    await box.api.ok("POST", "/api/0/buckets/web/heartbeat?pulsetime=1", sent)

    found = await box.api.ok("GET", "/api/0/buckets/web/events")
    assert [one["data"] for one in found] == ([] if kept is None else [kept])


async def test_no_rule_hides_anything_from_another(box: Box) -> None:
    """A rule that drops counts although one before it replaces what it looks for."""
    path = await make_bucket(box.api, WINDOW)
    await box.use(REDACT, DROP)

    sent = event(at(0), title=CANARY)
    answer = await box.api.ok("POST", f"{path}/heartbeat?pulsetime=1", sent)

    assert answer["id"] is None


async def test_rules_are_in_force_at_once_and_after_a_restart(tmp_path: Path) -> None:
    """Setting them, changing them, and taking them away."""
    for restart in range(3):
        async with (
            await open_vault(tmp_path / "vault") as vault,
            serving(VaultHolder(vault), GatewaySettings()) as api,
        ):
            if restart == 0:
                await make_bucket(api, WINDOW)
                await api.ok("POST", SETTING, [DROP])
            path = f"/api/0/buckets/{WINDOW}"
            if restart == 2:
                assert (await api.delete(SETTING)).status == 200
            sent = event(at(restart), title=CANARY)
            await api.ok("POST", f"{path}/heartbeat?pulsetime=0", sent)
            await api.ok("POST", f"{path}/events", [sent])
            count = await api.ok("GET", f"{path}/events/count")
            assert count == (2 if restart == 2 else 0)
            await vault.seal_now()


REFUSED: Final[list[tuple[Any, str]]] = [
    ({}, "must be an array of rules, each an object"),
    ("[]", "must be an array of rules, each an object"),
    ([1], "rule 1: expected `object`, got `int`"),
    ([DROP, {}], "rule 2: object missing required field `action`"),
    ([DROP | {"action": "hide"}], 'rule 1: action: must be "drop" or "redact"'),
    ([DROP | {"patern": "x"}], "rule 1: object contains unknown field `patern`"),
    ([DROP | {"enabled": "yes"}], "rule 1: enabled: expected `bool`, got `str`"),
    ([DROP | {"pattern": "("}], "rule 1: pattern: is no regular expression: missing )"),
    ([DROP | {"pattern": "(?:a{999}b){999}"}], "rule 1: pattern: is no regular expres"),
    ([DROP | {"pattern": "(?:ab){999}"}] * 60, "the patterns repeat too much: toget"),
    ([DROP | {"pattern": ""}], "rule 1: pattern: has 1 to 1000 characters"),
    ([DROP | {"bucket_prefix": ""}], "rule 1: bucket_prefix: has 1 to 1000"),
    ([DROP | {"text": "x"}], "rule 1: text: a rule has a pattern or a text, not both"),
    ([{"action": "drop", "field": "title"}], "rule 1: field: needs a pattern or a"),
    ([{"action": "drop"}], "rule 1: action: the rule does not say for which events"),
    ([{"action": "drop", "incognito": False}], "rule 1: incognito: can only be true"),
    ([{"action": "redact", "bucket": "x"}], "rule 1: redact: must name the fields"),
    ([REDACT | {"redact": []}], "rule 1: redact: must name the fields"),
    ([REDACT | {"redact": ["a", ""]}], "rule 1: redact: has 1 to 1000 characters"),
    ([REDACT | {"replacement": "x" * 1001}], "rule 1: replacement: has 1 to 1000"),
    ([DROP] * (RULES_MAX + 1), f"there are {RULES_MAX + 1} rules, at most {RULES_MAX}"),
    ([DROP | {"enabled": False, "pattern": "("}], "rule 1: pattern: is no regular"),
]


async def test_a_rule_that_would_not_work_is_refused(box: Box) -> None:
    """When it is set, naming it; those that were in force stay in force."""
    path = await make_bucket(box.api, WINDOW)
    await box.use(DROP)

    for rules, message in REFUSED:
        answer = await box.api.post(SETTING, rules)

        assert answer.status == 400
        assert answer.message.startswith(f"privacy_filters: {message}")
        with pytest.raises(InvalidInputError):
            convert_rules(rules)
        assert await box.api.ok("GET", SETTING) == [DROP]
    sent = event(at(0), title=CANARY)
    await box.api.ok("POST", f"{path}/heartbeat?pulsetime=1", sent)
    assert await box.api.ok("GET", f"{path}/events") == []


async def test_a_pattern_that_takes_too_long_counts_as_found(box: Box) -> None:
    """The event is dropped, or its field replaced, and it is counted."""
    path = await make_bucket(box.api, WINDOW)
    rule = {"field": "title", "pattern": SLOW_PATTERN, "action": "drop"}
    await box.use(rule)

    answer = await box.api.ok(
        "POST", f"{path}/heartbeat?pulsetime=1", event(at(0), title=SLOW_TEXT)
    )

    assert answer["id"] is None
    rules = await box.vault.filters.rules()
    assert (rules.dropped[0], rules.timeouts[0]) == (1, 1)

    await box.use(rule | {"action": "redact"})
    answer = await box.api.ok(
        "POST", f"{path}/heartbeat?pulsetime=1", event(at(0), title=SLOW_TEXT)
    )
    assert answer["data"] == {"title": "REDACTED"}
    rules = await box.vault.filters.rules()
    assert (rules.redacted[0], rules.timeouts[0]) == (1, 1)
    assert b"aaaa" not in box.revisions()


async def test_a_request_that_takes_too_long_is_refused_whole(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than held for minutes, or let through."""
    monkeypatch.setattr(filters, "PATTERN_SECONDS_MAX", 0.01)
    path = await make_bucket(box.api, WINDOW)
    await box.use({"field": "title", "pattern": SLOW_PATTERN, "action": "drop"})
    sent = [event(at(0), title=f"{'a' * (60 + n)}!") for n in range(TIMEOUTS_MAX + 1)]

    answer = await box.api.post(f"{path}/events", [event(at(0), title="b"), *sent])

    assert answer.status == 400
    assert answer.message.startswith("privacy_filters: a pattern took too long 20")
    assert await box.api.ok("GET", f"{path}/events") == []


@pytest.mark.parametrize("path", ["heartbeat?pulsetime=1", "events"])
async def test_slow_patterns_do_not_hold_up_other_requests(box: Box, path: str) -> None:
    """They look at what was not seen before in a thread."""
    bucket = await make_bucket(box.api, WINDOW)
    rule = {"field": "title", "pattern": SLOW_PATTERN, "action": "redact"}
    await box.use(*[rule] * 9)
    slow = asyncio.create_task(
        box.api.post(f"{bucket}/{path}", event(at(0), title=SLOW_TEXT))
    )
    turns = 0
    while not slow.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert (await slow).status == 200
    assert turns > 30


async def test_a_change_of_the_rules_is_logged_without_their_words(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reaches the gateway can switch them off, but not in silence."""
    path = await make_bucket(box.api, WINDOW)

    async def send() -> None:
        beat = event(at(0), title="b")
        await box.api.ok("POST", f"{path}/heartbeat?pulsetime=1", beat)

    await send()
    await box.use(DROP, REDACT)
    await send()
    await box.use()
    await send()
    await send()

    warnings = [
        (record.name, record.getMessage())
        for record in caplog.records
        if record.levelname == "WARNING"
    ]
    assert [words for name, words in warnings if name == "awvault.preferences"] == [
        "the privacy filters were set on this machine"
    ] * 2
    assert [words for name, words in warnings if name == "awvault.filtering"] == [
        "the privacy filters have changed: 2 rules, and before 0",
        "the privacy filters have changed: 0 rules, and before 2",
    ]


async def test_what_is_wrong_with_an_event_is_said_as_without_filters(
    box: Box,
) -> None:
    path = await make_bucket(box.api, WINDOW)
    for rules in ([], [DROP]):
        await box.use(*rules)
        body = json.dumps(event(at(0), title=CANARY)).replace(f'"{CANARY}"', "NaN")
        answer = await box.api.call(
            "POST", f"{path}/heartbeat?pulsetime=1", body=body.encode()
        )
        assert answer.status == 400
        assert answer.message.startswith("data")
        good = json.dumps(event(at(0), title="x"))
        answer = await box.api.call(
            "POST", f"{path}/events", body=f"[{good},{body}]".encode()
        )
        assert answer.status == 400
        assert answer.message.startswith("[1].data")
        answer = await box.api.post(
            "/api/0/buckets/none/heartbeat?pulsetime=1", event(at(0))
        )
        assert answer.status == 404
    assert await box.api.ok("GET", f"{path}/events") == []


async def test_rules_that_are_not_understood_let_nothing_in(box: Box) -> None:
    """As from a newer program on another client: what it means to drop is not known."""
    path = await make_bucket(box.api, WINDOW)
    await box.vault.note_preference(
        b'{"key":"privacy_filters","value":[{"action":"shred"}]}',
        after_us=0,
        event_id=None,
    )

    for further, value in (
        ("heartbeat?pulsetime=1", event(at(0), title="x")),
        ("events", [event(at(0), title="x")]),
    ):
        answer = await box.api.post(f"{path}/{further}", value)
        assert answer.status == 503
        assert answer.message.startswith(
            "the privacy filters are not known, so nothing is stored: another client"
            " has set what is not understood here (rule 1: action: "
        )
    assert await box.api.ok("GET", f"{path}/events") == []
    service = FilterService(box.vault)
    (problem,) = await service.problems()
    assert problem.endswith("set them anew with `awvault filter set FILE`")
    assert problem.startswith(str((await service.filters()).problem))

    await box.use(DROP)
    await box.api.ok("POST", f"{path}/events", [event(at(0), title="x")])
    assert await service.problems() == []


async def test_concurrent_heartbeats_meet_the_rules(box: Box) -> None:
    """Whatever is in flight while rules are set: what comes after is dropped."""
    path = await make_bucket(box.api, WINDOW)

    async def beat(second: int, title: str) -> None:
        await box.api.ok(
            "POST", f"{path}/heartbeat?pulsetime=0", event(at(second), title=title)
        )

    await asyncio.gather(
        *(beat(n, f"before {n}") for n in range(20)),
        box.use(DROP),
    )
    await asyncio.gather(*(beat(20 + n, f"{CANARY} {n}") for n in range(20)))

    assert CANARY.encode() not in box.revisions()
    assert await box.api.ok("GET", f"{path}/events/count") == 20
