"""Renders bid responses: one kernel writes bids as OpenRTB 2.6 JSON.

A response with bids has one element of ``bid`` for each impression that is worth one::

    {"id":"<request>","seatbid":[{"bid":[{"id":"1","impid":"<imp>","price":1.234567,"crid":"c","adomain":["shop.example"],
    "cid":"spring","ext":{"farthing":{"score":0.0031}}}],"seat":"12"}],"cur":"USD","ext":{"farthing":{"strategy":"linear",
    "pacing":0.8,"now_ms":1790000000000,"billable":true,"model":"bidding@1a2b3c4d"}}}

One without: ``{"id":"<request>","nbr":15,"ext":{"farthing":{"reason":"expired","campaign":"spring","pacing":...}}}``.

A price is its micros as an exact decimal. Ids are echoed as they came, escapes and all. ``now_ms`` and ``pacing`` are
what the decision depended on besides the event, so that a repeat after a crash can be distinguished from another
decision.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import BidBlock, Bytes, Int64s, Outcome, RawColumn, RecordBlock, RenderedValues
from farthing.kernels.digits import AHEAD_BYTES, ZEROS, eight_digits, write_digits
from farthing.kernels.jit import kernel, stage
from farthing.kernels.machine import copy_bytes, store_u64
from farthing.payload.render import DECIMALS, join, joined_values, write_point, write_score

MICRO_DIGITS: Final = 6
_MICROS: Final = 10**MICRO_DIGITS
_NUMBER_BYTES: Final = 32  # a price, a score or a bid's number
_BID: Final = int(Outcome.BID)

NO_BID_CODES: Final = {
    # OpenRTB 3.0, list "No-Bid Reason Codes", which 2.6 refers to; 500 and up are the bidder's own.
    Outcome.EXPIRED: 15,  # insufficient auction time
    Outcome.NO_IMPRESSION_ID: 2,  # invalid request
    Outcome.UNREADABLE_FLOOR: 2,
    Outcome.CURRENCY_NOT_ACCEPTED: 502,
    Outcome.BLOCKED_ADVERTISER: 503,
    Outcome.OTHER_FORMAT: 505,
    Outcome.PRIVATE_AUCTION: 506,
    Outcome.FLOOR_CURRENCY: 508,
    Outcome.BELOW_FLOOR: 509,
    Outcome.NO_PRICE: 510,
}


@dataclass(frozen=True, slots=True)
class BidTerms:
    """What a campaign's bids state besides ids and prices."""

    campaign: str
    strategy: str
    currency: str
    crid: str
    adomain: tuple[str, ...]
    seat: str | None


def write_micros_reference(out: Bytes, at: int, micros: int) -> int:
    """Plain form of :func:`write_micros`."""
    text = _decimal(int(micros), MICRO_DIGITS).encode()
    out[at : at + len(text)] = np.frombuffer(text, np.uint8)
    return at + len(text)


@kernel(reference=write_micros_reference)
def write_micros(out: Bytes, at: int, micros: int) -> int:
    """Write millionths (not negative) as a number with one to six decimals; returns the position after it."""
    whole = np.int64(np.uint64(micros) // np.uint64(_MICROS))
    digits = eight_digits((micros - whole * _MICROS) * 10)  # the first and the last are zero
    at = write_digits(out, at, whole)
    store_u64(out, at, digits | ZEROS)
    return write_point(out, at, digits)


@kernel
def write_bids(
    out: Bytes, indptr: Int64s, events: Int64s, row_indptr: Int64s, buffer: Bytes,
    id_start: Int64s, id_stop: Int64s, imp_start: Int64s, imp_stop: Int64s,
    scores: NDArray[np.float32], labels: Bytes, prices: Int64s, outcomes: Bytes, test: Bytes,
    parts: Bytes, parts_ptr: Int64s, tails: Bytes, tails_ptr: Int64s,
) -> None:  # fmt: skip
    """Write one response for each of ``events``.

    ``parts`` are those of :func:`render_bids`; ``tails`` are the ends, indexed by 2 * outcome + test.
    """
    at = 0
    for k in range(len(events)):
        event = events[k]
        at = copy_bytes(out, at, parts, parts_ptr[0], parts_ptr[1])
        at = copy_bytes(out, at, buffer, id_start[event], id_stop[event])
        if outcomes[event] == _BID:
            at = copy_bytes(out, at, parts, parts_ptr[1], parts_ptr[2])
            count = 0
            for row in range(row_indptr[event], row_indptr[event + 1]):
                if labels[row] != _BID:
                    continue
                if count > 0:
                    out[at] = 44
                    at += 1
                count += 1
                at = copy_bytes(out, at, parts, parts_ptr[2], parts_ptr[3])
                at = write_digits(out, at, count)
                at = copy_bytes(out, at, parts, parts_ptr[3], parts_ptr[4])
                at = copy_bytes(out, at, buffer, imp_start[row], imp_stop[row])
                at = copy_bytes(out, at, parts, parts_ptr[4], parts_ptr[5])
                at = write_micros(out, at, prices[row])
                at = copy_bytes(out, at, parts, parts_ptr[5], parts_ptr[6])
                at = write_score(out, at, scores[row, 0])
                at = copy_bytes(out, at, parts, parts_ptr[6], parts_ptr[7])
        tail = 2 * outcomes[event] + test[event]
        at = copy_bytes(out, at, tails, tails_ptr[tail], tails_ptr[tail + 1])
        indptr[k + 1] = at


def render_bids_reference(
    records: RecordBlock,
    ids: RawColumn,
    imp_ids: RawColumn,
    bids: BidBlock,
    *,
    row_indptr: Int64s,
    terms: BidTerms,
    model: str,
) -> RenderedValues:
    """Plain form of :func:`render_bids`: one response after another."""
    events = np.flatnonzero(bids.status == 0).astype(np.int64)
    signed = {"crid": terms.crid, **({"adomain": list(terms.adomain)} if terms.adomain else {}), "cid": terms.campaign}
    written = []
    for event in events:
        head = b'{"id":' + records.buffer[ids.start[event] : ids.stop[event]].tobytes()
        tail = _tail(Outcome(int(bids.outcomes[event])), bool(bids.test[event]), bids, terms, model).encode()
        if bids.outcomes[event] != Outcome.BID:
            written.append(head + tail)
            continue
        rows = [row for row in range(row_indptr[event], row_indptr[event + 1]) if bids.labels[row] == Outcome.BID]
        parts = []
        for number, row in enumerate(rows, 1):
            impid = records.buffer[imp_ids.start[row] : imp_ids.stop[row]].tobytes()
            price = _decimal(int(bids.prices_micros[row]), MICRO_DIGITS)
            score = _decimal(round(float(bids.scores[row, 0]) * 10**DECIMALS), DECIMALS)
            rest = f',"price":{price},{_dumps(signed)[1:-1]},"ext":{{"farthing":{{"score":{score}}}}}}}'
            parts.append(f'{{"id":"{number}","impid":'.encode() + impid + rest.encode())
        written.append(head + b',"seatbid":[{"bid":[' + b",".join(parts) + tail)
    return joined_values(events, written)


@stage(reference=render_bids_reference)
def render_bids(
    records: RecordBlock,
    ids: RawColumn,
    imp_ids: RawColumn,
    bids: BidBlock,
    *,
    row_indptr: Int64s,
    terms: BidTerms,
    model: str,
) -> RenderedValues:
    """Write a bid response for each event with status OK, as this module's docstring shows.

    Parameters
    ----------
    records:
        The block that was parsed.
    ids, imp_ids:
        The requests' and the impressions' ids.
    bids:
        The decisions.
    row_indptr:
        int64 (n+1,): events -> impressions.
    terms, model:
        What else the responses state.
    """
    events = np.flatnonzero(bids.status == 0).astype(np.int64)
    signed = {"crid": terms.crid, **({"adomain": list(terms.adomain)} if terms.adomain else {}), "cid": terms.campaign}
    parts, parts_ptr = join(
        [
            '{"id":',
            ',"seatbid":[{"bid":[',
            '{"id":"',
            '","impid":',
            ',"price":',
            "," + _dumps(signed)[1:-1] + ',"ext":{"farthing":{"score":',
            "}}}",
        ]
    )
    tails, tails_ptr = join([_tail(outcome, test, bids, terms, model) for outcome in Outcome for test in (False, True)])
    per_bid = len(parts) + 3 * _NUMBER_BYTES + 1
    per_event = len(parts) + int(np.diff(tails_ptr).max())
    bidding = np.flatnonzero(bids.labels == _BID)
    room = (
        per_event * len(events)
        + int((ids.stop[events] - ids.start[events]).sum())
        + per_bid * len(bidding)
        + int((imp_ids.stop[bidding] - imp_ids.start[bidding]).sum())
    )
    out = np.empty(room + AHEAD_BYTES, np.uint8)
    indptr = np.zeros(len(events) + 1, np.int64)
    write_bids(
        out, indptr, events, row_indptr, records.buffer, ids.start, ids.stop, imp_ids.start, imp_ids.stop,
        bids.scores, bids.labels, bids.prices_micros, bids.outcomes, bids.test, parts, parts_ptr, tails, tails_ptr,
    )  # fmt: skip
    return RenderedValues(events, out[: indptr[-1]], indptr)


def _decimal(units: int, digits: int) -> str:
    """Write units of 10**-digits with at least one decimal, and no trailing zeros after that."""
    text = f"{units // 10**digits}.{units % 10**digits:0{digits}d}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def _tail(outcome: Outcome, test: bool, bids: BidBlock, terms: BidTerms, model: str) -> str:
    """Write what follows the bids, or the request's id where there is no bid."""
    inputs = {"strategy": terms.strategy, "pacing": bids.pacing, "now_ms": bids.now_ms}
    if outcome is not Outcome.BID:
        reason = {"reason": outcome.name.lower(), "campaign": terms.campaign, **inputs, "billable": False}
        if test:
            reason["test"] = 1
        return "," + _dumps({"nbr": NO_BID_CODES[outcome], "ext": {"farthing": {**reason, "model": model}}})[1:]
    seat = "" if terms.seat is None else f',"seat":{_dumps(terms.seat)}'
    own = {**inputs, "billable": not test, **({"test": 1} if test else {}), "model": model}
    return f"]{seat}}}]," + _dumps({"cur": terms.currency, "ext": {"farthing": own}})[1:]


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
