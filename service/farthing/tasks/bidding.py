"""The task bidding: an OpenRTB bid request gets a bid for each impression that is worth one, or the reason for none.

Let p be an impression's score for a click, taken as its probability, v the campaign's value per click,
u = 1000 v p the value of a thousand such impressions, and m the pacing multiplier, 0 < m <= 1. The price is m times

- ``linear``: u. In a second-price auction, bidding a constant share of the value wins the most value for the money
  (Perlich et al., KDD 2012); the multiplier is that share.
- ``ortb``: sqrt(c u / lambda + c^2) - c, which is optimal where a bid b wins with probability w(b) = b / (c + b) and
  costs at most b, the budget being spent at the multiplier lambda (Zhang, Yuan and Wang, "Optimal Real-Time Bidding for
  Display Advertising", KDD 2014, equation 14). :mod:`farthing.evaluate.measures.bidding` fits c and solves for lambda.

Prices are whole millionths of the currency per thousand impressions (CPM micros), rounded down, and never below
``bidfloor``: where the price would be lower, there is no bid. All steps, the square root included, are IEEE 754 double
operations in a stated order, so that a price is the same on every machine.

The event's timestamp plus ``tmax`` (milliseconds) is when a response becomes useless. Kafka's timestamp is the
producer's, so its clock and ours must agree.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import (
    BidBlock,
    Bytes,
    Column,
    DecisionInputs,
    FieldColumns,
    Int64s,
    NumberColumn,
    Outcome,
    Presence,
    RawColumn,
    ScoreBlock,
    Status,
)
from farthing.errors import BundleError
from farthing.kernels.jit import stage
from farthing.tasks.bid_kernels import decide_events, decide_rows, lists_reference, price_reference, settle_outcomes
from farthing.tasks.campaign import Campaign

LABELS: Final = tuple(outcome.name.lower() for outcome in Outcome)
FIELDS: Final = (
    # name, path, kind, required: the fields that every bidding plan reads besides those of its features
    ("id", "id", "raw", True),
    ("tmax", "tmax", "number", False),
    ("test", "test", "number", False),
    ("cur", "cur", "raw", False),
    ("badv", "badv", "raw", False),
    ("imp_id", "imp[*].id", "raw", False),
    ("bidfloor", "imp[*].bidfloor", "number", False),
    ("bidfloorcur", "imp[*].bidfloorcur", "raw", False),
    ("private_auction", "imp[*].pmp.private_auction", "number", False),
)
_DEFAULT_CURRENCY: Final = "USD"  # for a floor without a currency (OpenRTB 2.6, section 3.2.4)

Float64s = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bidding:
    """A campaign's bids, ready to decide."""

    campaign: Campaign

    @classmethod
    def from_manifest(cls, labels: Sequence[str], settings: Mapping[str, Any]) -> Bidding:
        """Read a manifest's labels and settings.

        Raises
        ------
        BundleError
            The labels are not the outcomes, or the campaign is incomplete.
        """
        if tuple(labels) != LABELS:
            raise BundleError(f"labels are {list(labels)}, the task bidding has {list(LABELS)}")
        return cls(Campaign.from_settings(settings))

    def decide(self, columns: FieldColumns, scores: ScoreBlock, inputs: DecisionInputs) -> BidBlock:
        """Give each impression its price or the reason for none.

        Parameters
        ----------
        columns:
            The parsed requests, with the columns of :data:`FIELDS`.
        scores:
            Scores of the same impressions; the first head's is the score for a click.
        inputs:
            The records' buffer and timestamps, the time and the pacing multiplier.

        Returns
        -------
        A block whose status is NON_FINITE where a request was OK but a score is NaN or infinite, and otherwise
        WRONG_TYPE where its id is not a string, or tmax or test not a number.

        Raises
        ------
        BundleError
            The plan lacks a column, or has it as another kind.
        ValueError
            Pacing is not over 0 and at most 1, or the arrays do not belong together.
        """
        if len(scores) != columns.row_indptr[-1]:
            raise ValueError(f"{len(scores)} rows of scores, the events have {columns.row_indptr[-1]} rows")
        if not 0.0 < inputs.pacing <= 1.0:
            raise ValueError(f"pacing is {inputs.pacing}, expected more than 0 and at most 1")
        bids = _decide(self, columns, scores, inputs)
        # A restriction that cannot be read is no permission.
        unread = [_number(columns.columns, name).presence == Presence.WRONG_TYPE for name in ("tmax", "test")]
        bids.status[(unread[0] | unread[1]) & (bids.status == Status.OK)] = Status.WRONG_TYPE
        return bids

    def terms(self, pacing: float) -> Float64s:
        """Return the terms for :func:`price_of`: value of 1000 clicks, c, c / lambda, pacing, the largest price."""
        c = self.campaign
        shape = c.c_micros / c.multiplier
        return np.array([c.value_per_click_micros * 1000.0, c.c_micros, shape, pacing, float(c.max_cpm_micros)])

    def _offered(self, columns: Mapping[str, Column], n_rows: int) -> Bytes:
        """Return which impressions offer a format that the campaign has a creative for."""
        if not self.campaign.offers:
            return np.ones(n_rows, np.uint8)
        offered = np.zeros(n_rows, np.uint8)
        for name in self.campaign.offers:
            column = columns.get(name)
            if column is None or len(column.presence) != n_rows:
                raise BundleError(f"campaign settings: offers names {name!r}, which is not a field of an impression")
            offered |= column.presence == Presence.PRESENT
        return offered


def _raw(columns: Mapping[str, Column], name: str) -> RawColumn:
    column = columns.get(name)
    if not isinstance(column, RawColumn):
        raise BundleError(f"the field plan has no raw field {name!r}, which the task bidding reads")
    return column


def _number(columns: Mapping[str, Column], name: str) -> NumberColumn:
    column = columns.get(name)
    if not isinstance(column, NumberColumn):
        raise BundleError(f"the field plan has no number field {name!r}, which the task bidding reads")
    return column


def _names(names: Sequence[str]) -> tuple[Bytes, Int64s]:
    """Lay names out as JSON strings, quotes included."""
    tokens = [json.dumps(name, ensure_ascii=False).encode() for name in names]
    indptr = np.concatenate([[0], np.cumsum([len(token) for token in tokens])]).astype(np.int64)
    return np.frombuffer(b"".join(tokens), np.uint8), indptr


def decide_reference(bidding: Bidding, columns: FieldColumns, scores: ScoreBlock, inputs: DecisionInputs) -> BidBlock:
    """Plain form of :meth:`Bidding.decide`: one request after another."""
    plain = _Plain(bidding, columns, scores, inputs)
    status, outcomes = columns.status.copy(), np.zeros(len(columns), np.uint8)
    labels, prices = np.zeros(len(scores), np.uint8), np.zeros(len(scores), np.int64)
    for event in np.flatnonzero(columns.status == Status.OK).tolist():
        rows = range(columns.row_indptr[event], columns.row_indptr[event + 1])
        if not (plain.text("id", event) or b'"').startswith(b'"'):
            status[event] = Status.WRONG_TYPE
        if not np.isfinite(scores.scores[rows.start : rows.stop]).all():
            status[event] = Status.NON_FINITE
        outcome = plain.of_request(event)
        for row in rows:
            labels[row], prices[row] = plain.of_impression(row) if outcome is Outcome.BID else (outcome, 0)
        if len(rows):
            outcomes[event] = Outcome.BID if (labels[rows.start : rows.stop] == 0).any() else labels[rows.start]
    test = (_number(columns.columns, "test").values == 1.0).view(np.uint8)
    return BidBlock(status, scores.scores, labels, prices, outcomes, test, inputs.now_ms, inputs.pacing)


class _Plain:
    """The rules of a decision, applied to one request or impression at a time."""

    def __init__(self, bidding: Bidding, columns: FieldColumns, scores: ScoreBlock, inputs: DecisionInputs) -> None:
        self._columns, self._campaign, self._inputs = columns.columns, bidding.campaign, inputs
        self._scores = scores.scores[:, 0].tolist()
        self._offered, self._terms = bidding._offered(columns.columns, len(scores)), bidding.terms(inputs.pacing)

    def text(self, name: str, slot: int) -> bytes | None:
        column = _raw(self._columns, name)
        there = column.presence[slot] == Presence.PRESENT
        return self._inputs.buffer[column.start[slot] : column.stop[slot]].tobytes() if there else None

    def number(self, name: str, slot: int) -> float:
        return float(_number(self._columns, name).values[slot])

    @staticmethod
    def lists(value: bytes, names: Sequence[str]) -> bool:
        return lists_reference(np.frombuffer(value, np.uint8), 0, len(value), *_names(names))

    def of_request(self, event: int) -> Outcome:
        stamp, cur, badv = int(self._inputs.timestamps_ms[event]), self.text("cur", event), self.text("badv", event)
        if stamp >= 0 and stamp + self.number("tmax", event) < self._inputs.now_ms:
            return Outcome.EXPIRED
        if cur is not None and not self.lists(cur, [self._campaign.currency]):
            return Outcome.CURRENCY_NOT_ACCEPTED
        blocked = badv is not None and self.lists(badv, self._campaign.adomain)
        return Outcome.BLOCKED_ADVERTISER if blocked else Outcome.BID

    def of_impression(self, row: int) -> tuple[Outcome, int]:
        reason = self._refused(row)
        if reason is not None:
            return reason, 0
        if not math.isfinite(self._scores[row]):
            return Outcome.NO_PRICE, 0
        price, floor = price_reference(self._scores[row], self._terms), self.number("bidfloor", row)
        if floor > 0 and price / 1e6 < floor:
            return Outcome.BELOW_FLOOR, 0
        return (Outcome.BID, price) if price > 0 else (Outcome.NO_PRICE, 0)

    def _refused(self, row: int) -> Outcome | None:
        """Return why an impression is not priced at all, if so."""
        if not (self.text("imp_id", row) or b"").startswith(b'"'):
            return Outcome.NO_IMPRESSION_ID
        if not self._offered[row]:
            return Outcome.OTHER_FORMAT
        if self.number("private_auction", row) == 1:
            return Outcome.PRIVATE_AUCTION
        if _number(self._columns, "bidfloor").presence[row] == Presence.WRONG_TYPE:
            return Outcome.UNREADABLE_FLOOR
        stated, ours = self.text("bidfloorcur", row), self._campaign.currency
        same = ours == _DEFAULT_CURRENCY if stated is None else self.lists(stated, [ours])
        return Outcome.FLOOR_CURRENCY if self.number("bidfloor", row) > 0 and not same else None


@stage(reference=decide_reference)
def _decide(bidding: Bidding, columns: FieldColumns, scores: ScoreBlock, inputs: DecisionInputs) -> BidBlock:
    """Decide on all requests of a block with three kernels."""
    get, campaign = columns.columns, bidding.campaign
    ids, cur, badv = (_raw(get, name) for name in ("id", "cur", "badv"))
    imp_id, floor_currency = _raw(get, "imp_id"), _raw(get, "bidfloorcur")
    floor = _number(get, "bidfloor")
    currency, currency_ptr = _names([campaign.currency])
    domains, domains_ptr = _names(campaign.adomain)
    status, outcomes = decide_events(
        columns.status, columns.row_indptr, scores.scores, inputs.buffer, inputs.timestamps_ms, inputs.now_ms,
        ids.presence, ids.start, ids.stop, _number(get, "tmax").values, cur.presence, cur.start, cur.stop,
        badv.presence, badv.start, badv.stop, currency, currency_ptr, domains, domains_ptr,
    )  # fmt: skip
    labels, prices = decide_rows(
        columns.row_indptr, outcomes, scores.scores, inputs.buffer, bidding._offered(get, len(scores)),
        imp_id.presence, imp_id.start, imp_id.stop, _number(get, "private_auction").values,
        floor.presence, floor.values, floor_currency.presence, floor_currency.start, floor_currency.stop,
        currency, currency_ptr, campaign.currency == _DEFAULT_CURRENCY, bidding.terms(inputs.pacing),
    )  # fmt: skip
    settle_outcomes(columns.row_indptr, labels, outcomes)
    return BidBlock(
        status=status,
        scores=scores.scores,
        labels=labels,
        prices_micros=prices,
        outcomes=outcomes,
        test=(_number(get, "test").values == 1.0).view(np.uint8),
        now_ms=inputs.now_ms,
        pacing=inputs.pacing,
    )
