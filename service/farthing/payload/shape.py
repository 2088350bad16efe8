"""Kernels that expect an object of the plan to have the same keys, in the same order, as earlier ones of its block.

Events of one producer look alike: ``{"id":`` is followed by ``,"text":``, byte for byte, with the producer's own white
space. A *link* is such a piece: all that lies between a value, or the bracket before it, and the value of the next
key. Links that were read once are kept in a tree for each object of the plan, and :func:`follow` compares bytes in
place of scanning, unescaping and looking up a key. The same bytes in the same place mean the same, so what was learned
decides how fast an event is read and never what is read: where no link fits, the kernel in
:mod:`farthing.payload.json` goes on from there and learns the new one.

All of it lies in three arrays that begin empty with each block: ``nodes``, of eight numbers each, which are known by
the place of their first (those of the plan's nodes come first, and are where the objects begin); ``links``, their
bytes; and ``tally``.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes, Int64s
from farthing.kernels.jit import kernel
from farthing.kernels.machine import copy_bytes, load_u8, load_u64
from farthing.payload.numbers import scan_number
from farthing.payload.plain import copy_plain, skip_plain
from farthing.payload.plan import KINDS
from farthing.payload.slots import PRESENT
from farthing.payload.strings import copy_string, scan_string

MOST_NODES: Final = 256  # besides the plan's
MOST_BYTES: Final = 1 << 13  # of links
NODE_WIDTH: Final = 8  # a cache line
FIRST, SIZE, CHILD, SIBLING, EDGE, FIELD, READ = range(7)  # what a node's numbers are
N_NODES, N_BYTES, MISSED, STRIKES, PAUSE = range(5)  # what the numbers of ``tally`` are
TALLY_WIDTH: Final = 5
SKIP, COPY, POINT, OTHER = range(4)  # how the value after a link is read: OTHER is left to the whole parser

_MOST_TRIED: Final = 4  # links that may come next, latest first
_MOST_STRIKES, _STRIKES_LEFT, _PAUSE_EVENTS = 16, 12, 64
_WORD: Final = 8
_NONE: Final = -1
TEXT, RAW = KINDS.index("text"), KINDS.index("raw")

MEMBER_ENDED, KEY_READ = range(2)


@kernel
def forget_links(nodes: Int64s, tally: Int64s, n_roots: int) -> None:
    """Begin with no links."""
    tally[N_NODES] = n_roots * NODE_WIDTH
    tally[N_BYTES] = 0
    tally[MISSED] = 0
    for root in range(n_roots):
        nodes[root * NODE_WIDTH + CHILD] = _NONE


@kernel
def learn(
    data: Bytes, start: int, stop: int, node: int, edge: int, field: int, kinds: Bytes,
    nodes: Int64s, links: Bytes, tally: Int64s,
) -> int:  # fmt: skip
    """Keep the link ``data[start:stop]``, after which comes the value of ``edge`` (-1: none of the plan's).

    Returns its node, or -1 when there is no room left.
    """
    tally[MISSED] = 1
    new, first, size = tally[N_NODES], tally[N_BYTES], stop - start
    if new == len(nodes) or first + size + _WORD > len(links):
        return _NONE
    tally[N_BYTES] = copy_bytes(links, first, data, start, stop)
    tally[N_NODES] = new + NODE_WIDTH
    nodes[new + FIRST] = first
    nodes[new + SIZE] = size
    nodes[new + CHILD] = _NONE
    nodes[new + SIBLING] = nodes[node + CHILD]
    nodes[new + EDGE] = edge
    nodes[new + FIELD] = field
    nodes[new + READ] = OTHER
    if edge < 0:
        nodes[new + READ] = SKIP
    elif field >= 0 and kinds[field] == TEXT:
        nodes[new + READ] = COPY
    elif field >= 0 and kinds[field] == RAW:
        nodes[new + READ] = POINT
    nodes[node + CHILD] = new
    return int(new)


@kernel(inline=True)
def is_at(data: Bytes, at: int, stop: int, link: int, nodes: Int64s, links: Bytes) -> bool:
    """Whether a node's link is at ``at``."""
    size, first = nodes[link + SIZE], nodes[link + FIRST]
    if at + size > stop or at + size + _WORD > len(data):
        return False
    while size >= _WORD:
        if load_u64(data, at) != load_u64(links, first):
            return False
        at += _WORD
        first += _WORD
        size -= _WORD
    return size == 0 or bool((load_u64(data, at) ^ load_u64(links, first)) << np.uint64(64 - 8 * size) == 0)


@kernel
def other_link(data: Bytes, at: int, stop: int, link: int, nodes: Int64s, links: Bytes) -> int:
    """Return the node whose link is at ``at``, of those that were learned before ``link`` for the same place, or -1."""
    for _ in range(_MOST_TRIED - 1):
        link = nodes[link + SIBLING]
        if link < 0 or is_at(data, at, stop, link, nodes, links):
            return link
    return _NONE


@kernel(inline=True)
def follow(
    data: Bytes, at: int, stop: int, node: int, slot: int, nodes: Int64s, links: Bytes,
    presence: Bytes, starts: Int64s, stops: Int64s, text: Bytes, text_size: int, text_at: Int64s, text_indptr: Int64s,
) -> tuple[int, int, int]:  # fmt: skip
    """Read members of an object as long as they are expected; ``at`` is where the last value, or the bracket, ended.

    Their fields go to ``slot``. Returns (where it stopped, the last link's node, what is there): MEMBER_ENDED where a
    value ended, or nothing was read; KEY_READ where the value of the link's key comes next; or (-1, node, Status of
    the first error).
    """
    while True:
        link = nodes[node + CHILD]
        if link >= 0 and not is_at(data, at, stop, link, nodes, links):
            link = other_link(data, at, stop, link, nodes, links)
        if link < 0:
            return at, node, MEMBER_ENDED
        node = link
        at += nodes[node + SIZE]
        read, field = nodes[node + READ], nodes[node + FIELD]
        if at >= stop or read == OTHER:
            return at, node, KEY_READ
        began, byte = at, load_u8(data, at)
        if byte == 34:
            if read == COPY:
                base = field * text_size
                first = base + text_indptr[field, slot] - at - 1
                at = copy_plain(data, at + 1, stop, text, first + at + 1, base + text_size)
                to = first + at
                if at >= stop or load_u8(data, at) != 34:
                    at, to, state = copy_string(data, at, stop, text, to, base + text_size)
                    if at < 0:
                        return at, node, state
                text_at[field] = to - base
            else:
                at = skip_plain(data, at + 1, stop)
                if at >= stop or load_u8(data, at) != 34:
                    at, state = scan_string(data, at, stop)
                    if at < 0:
                        return at, node, state
            at += 1
        elif read != COPY and (byte == 45 or 48 <= byte <= 57):
            at, state = scan_number(data, at, stop)
            if at < 0:
                return at, node, state
        else:
            return at, node, KEY_READ
        if field >= 0:
            presence[field, slot] = PRESENT
            starts[field, slot] = began
            stops[field, slot] = at


@kernel(inline=True)
def settle(nodes: Int64s, tally: Int64s, n_roots: int) -> None:
    """Take note, after an event, whether its links were known; where they hardly ever are, stop looking for a while."""
    if tally[PAUSE] > 0:
        tally[PAUSE] -= 1
    elif tally[MISSED] == 0:
        tally[STRIKES] = max(tally[STRIKES] - 4, 0)
    else:
        tally[MISSED] = 0
        tally[STRIKES] += 1
        if tally[STRIKES] >= _MOST_STRIKES:
            tally[STRIKES] = _STRIKES_LEFT
            tally[PAUSE] = _PAUSE_EVENTS
            forget_links(nodes, tally, n_roots)
