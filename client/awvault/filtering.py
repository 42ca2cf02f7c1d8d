"""The privacy filters in force: what comes in from outside is held against them.

They belong to the ways in: gateway, `awvault add`, imports. Whoever stores for
another asks here first, and stores what comes back. The library does not: a program
that opens the vault decides itself what it writes.

The rules are those of config.toml, which are this machine's, and those of the
preference `privacy_filters`, which are the account's. Where the latter cannot be
known, nothing is let in.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from awvault.errors import Error, InvalidInputError
from awvault.filters import KEY, Place, Rule, RuleSet, parse_rules
from awvault.incoming import NewRows
from awvault.vault import Vault

log = logging.getLogger(__name__)

OFF_LOOP_EVENTS_MIN: Final = 200
"""More events than this are looked at in a thread; fewer, where it may take long."""


class FiltersUnknownError(Error):
    """Nobody can tell what may be stored, so nothing is."""

    def __init__(self, reason: str) -> None:
        """Say why."""
        super().__init__(
            f"the privacy filters are not known, so nothing is stored: {reason}"
        )
        self.hint = "set them anew with `awvault filter set FILE`"


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left of the events of one request."""

    places: Sequence[int]
    """Which of them are to be stored."""
    texts: Sequence[bytes]
    """The data of those."""
    sent: Mapping[int, bytes] = field(default_factory=dict)
    """What was sent for those of `texts` in which something was replaced."""


@dataclass(frozen=True, slots=True)
class KeptRows:
    """What is left of rows."""

    rows: NewRows
    sent: Mapping[int, bytes]
    """By place in `rows`, as in `Kept`."""


class Filters:
    """The privacy filters of one vault. Belongs to the event loop."""

    def __init__(self, vault: Vault) -> None:
        """Begin with the preference alone."""
        self._vault = vault
        self._configured: Sequence[Rule] = ()
        self._mark: object = None
        self._source: tuple[Sequence[Rule], bytes | None] | None = None
        self._rules = RuleSet()

    def configure(self, rules: Sequence[Rule]) -> None:
        """Have these rules of this machine too; before anything comes in."""
        self._configured, self._mark = tuple(rules), None

    @property
    def configured(self) -> Sequence[Rule]:
        """The rules of this machine."""
        return self._configured

    async def rules(self) -> RuleSet:
        """Return the rules in force, those of config.toml first.

        Raises `FiltersUnknownError`.
        """
        preferences = self._vault.preferences
        await self._vault.settle()
        if preferences.mark == self._mark:
            return self._rules
        await preferences.load()
        mark = preferences.mark
        text = preferences.get(KEY)
        if not preferences.is_certain(KEY):
            raise FiltersUnknownError("a damaged record may hold newer ones")
        source = self._configured, text
        if source != self._source:
            try:
                shared = () if text is None else parse_rules(text)
            except InvalidInputError as error:
                raise FiltersUnknownError(
                    f"another client has set what is not understood here ({error})"
                ) from None
            known, self._rules = self._rules, RuleSet((*self._configured, *shared))
            if self._source is not None:
                # Whoever reaches the gateway can do it, so it is never in silence.
                log.warning(
                    "the privacy filters have changed: %d rules, and before %d",
                    len(self._rules.rules),
                    len(known.rules),
                )
            self._source = source
        self._mark = mark
        return self._rules

    async def one(self, bucket_id: str, text: bytes) -> bytes | None:
        """Return the data to store of one event; None: it is not to be stored.

        Raises `BucketNotFoundError`, `InvalidInputError`, `FiltersUnknownError`.
        """
        rules = await self.rules()
        place = self._place(bucket_id, None)
        if not rules.rules:
            return text
        chosen = rules.at(place)
        if chosen.is_quick(text):
            outcome = chosen.apply(text)
        else:
            outcome = await asyncio.to_thread(chosen.apply, text)
        if outcome.hits:
            rules.count(outcome)
        return outcome.text

    async def many(
        self, bucket_id: str, texts: Sequence[bytes], *, kind: str | None = None
    ) -> Kept:
        """Return which events of one request to store, and with what data.

        `kind` is the type of a bucket that need not exist yet. Raises as `one`, and
        `FiltersTooSlowError`.
        """
        rules = await self.rules()
        place = self._place(bucket_id, kind)
        chosen = rules.at(place)
        if not chosen:
            return Kept(range(len(texts)), texts)
        if len(texts) > OFF_LOOP_EVENTS_MIN or not all(map(chosen.is_quick, texts)):
            outcomes = await asyncio.to_thread(chosen.apply_all, texts)
        else:
            outcomes = chosen.apply_all(texts)
        for outcome in outcomes:
            if outcome.hits:
                rules.count(outcome)
        kept = [
            (at, outcome.text)
            for at, outcome in enumerate(outcomes)
            if outcome.text is not None
        ]
        return Kept(
            [at for at, _ in kept],
            [text for _, text in kept],
            {
                number: texts[at]
                for number, (at, _) in enumerate(kept)
                if outcomes[at].hits
            },
        )

    async def rows(self, bucket_id: str, rows: NewRows) -> KeptRows:
        """Return what of these rows is to be stored. Raises as `many`."""
        kept = await self.many(bucket_id, rows.texts)
        chosen = NewRows(
            starts=_chosen(rows.starts, kept.places),
            durations=_chosen(rows.durations, kept.places),
            texts=kept.texts,
            flags=None if rows.flags is None else _chosen(rows.flags, kept.places),
            stored_at=(
                None if rows.stored_at is None else _chosen(rows.stored_at, kept.places)
            ),
        )
        return KeptRows(chosen, kept.sent)

    def _place(self, bucket_id: str, kind: str | None) -> Place:
        known = self._vault.bucket_kind(bucket_id, missing=kind)
        return Place(bucket_id, *known)


def _chosen(values: Sequence[int], places: Sequence[int]) -> Sequence[int]:
    if len(places) == len(values):
        return values
    return [values[at] for at in places]
