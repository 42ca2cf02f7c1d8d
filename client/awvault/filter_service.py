"""The privacy filters, for whoever owns them: list, set, and try on what is stored."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from awvault.columns.table import EventTable
from awvault.filtering import FiltersUnknownError
from awvault.filters import (
    KEY,
    TIMEOUTS_MAX,
    FiltersTooSlowError,
    Outcome,
    Place,
    RuleSet,
    parse_rules,
    render_rule,
)
from awvault.service import (
    FilterRow,
    FiltersInfo,
    FiltersRequest,
    FilterTested,
    FilterTestRequest,
    FilterTestResult,
)

if TYPE_CHECKING:
    from awvault.vault import Vault

EXAMPLES_MAX: Final = 100
"""Examples of one rule in one bucket that are told."""

_DATED_AHEAD: Final = (
    "another client has set the privacy filters with a clock that is more than a year"
    " ahead, so those before count: set that clock, and then the filters again"
)


class FilterService:
    """What `awvault filter` asks for, on an open vault."""

    def __init__(self, vault: "Vault") -> None:
        """Answer for `vault`."""
        self._vault = vault

    async def filters(self) -> FiltersInfo:
        """See `Service.filters`."""
        filters = self._vault.filters
        try:
            in_force = await filters.rules()
        except FiltersUnknownError as error:
            return FiltersInfo(rules=[], problem=str(error))
        configured = len(filters.configured)
        return FiltersInfo(
            rules=[
                FilterRow(
                    number=at + 1,
                    source="config" if at < configured else "account",
                    rule=render_rule(rule).decode("utf-8", "surrogatepass"),
                    dropped=in_force.dropped[at],
                    redacted=in_force.redacted[at],
                    too_slow=in_force.timeouts[at],
                )
                for at, rule in enumerate(in_force.rules)
            ],
            problem=None,
        )

    async def problems(self) -> list[str]:
        """Say what is to be done about the rules; mostly nothing."""
        try:
            await self._vault.filters.rules()
        except FiltersUnknownError as error:
            return [f"{error}; {error.hint}"]
        if self._vault.preferences.is_ahead(KEY):
            return [_DATED_AHEAD]
        return []

    async def set_filters(self, request: FiltersRequest) -> FiltersInfo:
        """See `Service.set_filters`."""
        text = request.rules.encode("utf-8", "surrogatepass")
        parse_rules(text)
        await self._vault.preferences.set(KEY, text)
        return await self.filters()

    async def try_filters(self, request: FilterTestRequest) -> FilterTestResult:
        """See `Service.try_filters`."""
        vault = self._vault
        if request.rules is None:
            rules = RuleSet((await vault.filters.rules()).rules)
        else:
            rules = RuleSet(parse_rules(request.rules.encode("utf-8", "surrogatepass")))
        await vault.settle()
        trial = _Trial(rules, min(request.examples, EXAMPLES_MAX))
        for bucket_id in request.buckets or sorted(vault.buckets()):
            place = Place(bucket_id, *vault.bucket_kind(bucket_id))
            table = await vault.read_async(bucket_id)
            await asyncio.to_thread(trial.look_at, place, table)
        return FilterTestResult(
            rules=[
                render_rule(rule).decode("utf-8", "replace") for rule in rules.rules
            ],
            events=trial.events,
            dropped=trial.dropped,
            redacted=trial.redacted,
            tested=trial.tested,
        )


@dataclass(slots=True)
class _Trial:
    """Rules held against events that are stored; nothing is changed."""

    rules: RuleSet
    examples_max: int
    events: int = 0
    dropped: int = 0
    redacted: int = 0
    timeouts: int = 0
    tested: list[FilterTested] = field(default_factory=list)

    def look_at(self, place: Place, table: EventTable) -> None:
        """Count what each rule would have done to the events of one bucket."""
        self.events += len(table)
        chosen = self.rules.at(place)
        if not chosen or not len(table):
            return
        counts: list[int] = np.bincount(table.data, minlength=len(table.texts)).tolist()
        matched: Counter[int] = Counter()
        examples: dict[int, list[str]] = {}
        for text, count in zip(table.texts, counts, strict=True):
            if not count:
                continue
            outcome = chosen.apply(text)
            self.timeouts += len(outcome.timeouts)
            if self.timeouts > TIMEOUTS_MAX:
                raise FiltersTooSlowError
            if outcome.hits:
                self._count(outcome, count)
            for hit in outcome.hits:
                matched[hit] += count
                shown = examples.setdefault(hit, [])
                if len(shown) < self.examples_max:
                    shown.append(text.decode("utf-8", "replace"))
        self.tested += [
            FilterTested(
                rule=hit + 1, bucket=place.bucket_id, events=count, examples=shown
            )
            for hit, count, shown in _by_rule(matched, examples)
        ]

    def _count(self, outcome: Outcome, count: int) -> None:
        if outcome.text is None:
            self.dropped += count
        else:
            self.redacted += count


def _by_rule(
    matched: Counter[int], examples: dict[int, list[str]]
) -> Sequence[tuple[int, int, list[str]]]:
    return [(hit, matched[hit], examples[hit]) for hit in sorted(matched)]
