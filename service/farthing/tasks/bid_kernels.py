"""The kernels of the task bidding: prices, lists of names, and the outcomes of requests and impressions.

:func:`farthing.tasks.bidding.decide_reference` is the plain form of the three kernels that decide.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, Int64s, Outcome, Presence, Status
from farthing.kernels.jit import kernel

_MICROS: Final = 1e6

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]


def price_reference(score: float, terms: Float64s) -> int:
    """Plain form of :func:`price_of`."""
    value, c, shape, pacing, largest = (float(term) for term in terms)
    u = float(score) * value
    if c > 0.0:
        gain = shape * u
        u = gain / (math.sqrt(gain + c * c) + c)
    return math.floor(min(u * pacing, largest))


@kernel(reference=price_reference)
def price_of(score: float, terms: Float64s) -> int:
    """Return the price of a thousand impressions with this score for a click, in micros, rounded down.

    ``terms`` come from :meth:`farthing.tasks.bidding.Bidding.terms`. The difference sqrt(g + c^2) - c is computed as
    g / (sqrt(g + c^2) + c), which loses no digits where g is small.
    """
    u = np.float64(score) * terms[0]
    c = terms[1]
    if c > 0.0:
        gain = terms[2] * u
        u = gain / (np.sqrt(gain + c * c) + c)
    return int(np.floor(min(u * terms[3], terms[4])))


def lists_reference(data: Bytes, start: int, stop: int, names: Bytes, indptr: Int64s) -> bool:
    """Plain form of :func:`lists_any`."""
    text, joined = data[start:stop].tobytes(), names.tobytes()
    tokens = [joined[a:b].lower() for a, b in zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True)]
    at = 0
    while (at := text.find(b'"', at)) >= 0:
        end = at + 1
        while text[end : end + 1] != b'"':
            end += 2 if text[end : end + 1] == b"\\" else 1
        if text[at : end + 1].lower() in tokens:
            return True
        at = end + 1
    return False


@kernel(reference=lists_reference)
def lists_any(data: Bytes, start: int, stop: int, names: Bytes, indptr: Int64s) -> bool:
    """Return whether a validated JSON value contains one of ``names`` as a string, ignoring ASCII case.

    Strings are compared as they are written, so a string with an escape in it never matches.
    """
    at = start
    while at < stop:
        if data[at] != 34:
            at += 1
            continue
        end = at + 1
        while data[end] != 34:
            end += 2 if data[end] == 92 else 1
        end += 1
        for k in range(len(indptr) - 1):
            size = indptr[k + 1] - indptr[k]
            if size != end - at:
                continue
            i = 0
            while i < size and lower(data[at + i]) == lower(names[indptr[k] + i]):
                i += 1
            if i == size:
                return True
        at = end
    return False


@kernel(inline=True)
def lower(byte: int) -> int:
    """Return the lower case of an ASCII letter, and any other byte unchanged."""
    return byte + 32 if 65 <= byte <= 90 else byte


@kernel(allocates=True)
def decide_events(
    status: Bytes, row_indptr: Int64s, scores: Float32s, buffer: Bytes, timestamps_ms: Int64s, now_ms: int,
    id_presence: Bytes, id_start: Int64s, id_stop: Int64s, tmax: Float64s,
    cur_presence: Bytes, cur_start: Int64s, cur_stop: Int64s,
    badv_presence: Bytes, badv_start: Int64s, badv_stop: Int64s,
    currency: Bytes, currency_ptr: Int64s, domains: Bytes, domains_ptr: Int64s,
) -> tuple[Bytes, Bytes]:  # fmt: skip
    """Check what applies to a whole request. Returns the final status (n,) and the Outcome so far (n,)."""
    final = status.copy()
    outcomes = np.zeros(len(status), np.uint8)
    for event in range(len(status)):
        if status[event] != _OK:
            continue
        if id_presence[event] == _PRESENT and buffer[id_start[event]] != 34:
            final[event] = _WRONG_TYPE
        for row in range(row_indptr[event], row_indptr[event + 1]):
            for head in range(scores.shape[1]):
                if not np.isfinite(scores[row, head]):
                    final[event] = _NON_FINITE
        late = timestamps_ms[event] >= 0 and np.float64(timestamps_ms[event]) + tmax[event] < np.float64(now_ms)
        if late:  # never where tmax is missing: it is NaN
            outcomes[event] = _EXPIRED
        elif cur_presence[event] == _PRESENT and not lists_any(
            buffer, cur_start[event], cur_stop[event], currency, currency_ptr
        ):
            outcomes[event] = _CURRENCY_NOT_ACCEPTED
        elif badv_presence[event] == _PRESENT and lists_any(
            buffer, badv_start[event], badv_stop[event], domains, domains_ptr
        ):
            outcomes[event] = _BLOCKED_ADVERTISER
    return final, outcomes


@kernel(allocates=True)
def decide_rows(
    row_indptr: Int64s, outcomes: Bytes, scores: Float32s, buffer: Bytes, offered: Bytes,
    id_presence: Bytes, id_start: Int64s, id_stop: Int64s, private_auction: Float64s,
    floor_presence: Bytes, floor: Float64s, floor_cur_presence: Bytes, floor_cur_start: Int64s, floor_cur_stop: Int64s,
    currency: Bytes, currency_ptr: Int64s, default_is_ours: bool, terms: Float64s,
) -> tuple[Bytes, Int64s]:  # fmt: skip
    """Check and price each impression. Returns its Outcome (n_rows,) and price in micros (n_rows,)."""
    labels = np.zeros(len(scores), np.uint8)
    prices = np.zeros(len(scores), np.int64)
    for event in range(len(outcomes)):
        for row in range(row_indptr[event], row_indptr[event + 1]):
            label = outcomes[event]
            floored = floor_presence[row] == _PRESENT and floor[row] > 0.0
            if label != _BID:
                pass
            elif id_presence[row] != _PRESENT or buffer[id_start[row]] != 34:
                label = _NO_IMPRESSION_ID
            elif offered[row] == 0:
                label = _OTHER_FORMAT
            elif private_auction[row] == 1.0:
                label = _PRIVATE_AUCTION
            elif floor_presence[row] == _MISTYPED:
                label = _UNREADABLE_FLOOR
            elif floored and not (
                lists_any(buffer, floor_cur_start[row], floor_cur_stop[row], currency, currency_ptr)
                if floor_cur_presence[row] == _PRESENT
                else default_is_ours
            ):
                label = _FLOOR_CURRENCY
            elif not np.isfinite(scores[row, 0]):
                label = _NO_PRICE
            else:
                price = price_of(scores[row, 0], terms)
                # The exchange reads the price as the double nearest to the decimal, so that is compared with the floor.
                if floored and np.float64(price) / _MICROS < floor[row]:
                    label = _BELOW_FLOOR
                elif price <= 0:
                    label = _NO_PRICE
                else:
                    prices[row] = price
            labels[row] = label
    return labels, prices


@kernel
def settle_outcomes(row_indptr: Int64s, labels: Bytes, outcomes: Bytes) -> None:
    """Set a request's outcome: a bid where any impression has one, else its first impression's."""
    for event in range(len(outcomes)):
        first, last = row_indptr[event], row_indptr[event + 1]
        if first == last:
            continue
        outcomes[event] = labels[first]
        for row in range(first, last):
            if labels[row] == _BID:
                outcomes[event] = _BID


_OK, _WRONG_TYPE, _NON_FINITE = np.uint8(Status.OK), np.uint8(Status.WRONG_TYPE), np.uint8(Status.NON_FINITE)
_PRESENT, _MISTYPED = np.uint8(Presence.PRESENT), np.uint8(Presence.WRONG_TYPE)
_BID, _EXPIRED, _NO_PRICE = np.uint8(Outcome.BID), np.uint8(Outcome.EXPIRED), np.uint8(Outcome.NO_PRICE)
_CURRENCY_NOT_ACCEPTED = np.uint8(Outcome.CURRENCY_NOT_ACCEPTED)
_BLOCKED_ADVERTISER = np.uint8(Outcome.BLOCKED_ADVERTISER)
_NO_IMPRESSION_ID = np.uint8(Outcome.NO_IMPRESSION_ID)
_OTHER_FORMAT = np.uint8(Outcome.OTHER_FORMAT)
_PRIVATE_AUCTION = np.uint8(Outcome.PRIVATE_AUCTION)
_UNREADABLE_FLOOR = np.uint8(Outcome.UNREADABLE_FLOOR)
_FLOOR_CURRENCY = np.uint8(Outcome.FLOOR_CURRENCY)
_BELOW_FLOOR = np.uint8(Outcome.BELOW_FLOOR)
