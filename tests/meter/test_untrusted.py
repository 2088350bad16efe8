"""Whatever bytes come, each reader of the books gives what it reads or a counted refusal, and never another error."""

import json
import zlib
from base64 import b85encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.ledger.books import Account
from farthing.ledger.history import Snapshot
from farthing.ledger.ledger import Ledger, Subject
from farthing.meter.records import MOST_BYTES, Heartbeat, TenantCount, UsageRecord
from farthing.meter.tenants import pack, unpack
from farthing.meter.untrusted import REASONS, Refused, read_object
from farthing.meter.usage import METADATA_LIMIT_BYTES, UsageTotals
from tests.ledger.cases import beat, record

DEEP = "[" * 100_000 + "]" * 100_000
ODD_NUMBERS = [
    "-1",
    "1.5",
    "9" * 400,
    "-" + "9" * 400,
    "9" * 5_000,
    "1e999",
    "NaN",
    "-Infinity",
    "1e3",
    "true",
    str(2**63),
]
ODD = [
    *ODD_NUMBERS,
    "null",
    '"x"',
    "[]",
    "{}",
    '{"a":{}}',
    "[[]]",
    "[1,2]",
    '"\\ud800"',
    '"a\\u001fb"',
    '"' + "n" * 9_000 + '"',
]

GOOD = {
    "usage": record(7, tenants={"acme": TenantCount(3, 0, 300)}).encode(),
    "heartbeat": beat(lag={"e": 1}, latency_edges_ms=(1, 2), latency={"e": (1, 2, 3)}, ages={"e": {3: 4}}).encode(),
    "account": Account.opened(record(7)).encode(),
    "snapshot": Snapshot(5, {Subject("e", "m", "moderation"): 3}, 9).encode(),
    "totals": record(7).totals.encode().encode(),
}
READERS = {
    "usage": UsageRecord.decode,
    "heartbeat": Heartbeat.decode,
    "account": Account.decode,
    "snapshot": Snapshot.decode,
    "totals": lambda value: UsageTotals.decode(value.decode("utf-8", "surrogateescape")),
    "tenants": lambda value: unpack(value.decode("utf-8", "surrogateescape")),
}


def reads_or_refuses(kind, value):
    """What is read can be kept and read back; what is refused has a reason and a short sentence."""
    try:
        found = READERS[kind](value)
    except Refused as error:
        assert error.reason in REASONS
        assert 0 < len(str(error)) < 700
        assert str(error).isprintable()
        return None
    if kind == "tenants":
        assert unpack(pack(found, 1 << 20)[0]) == found
    elif kind == "totals":
        assert UsageTotals.decode(found.encode()) == found
    else:
        assert READERS[kind](found.encode()) == found
    return found


def places(text):
    """Every number, text, list and object of a JSON text: (start, stop)."""
    found, decoder = [], json.JSONDecoder()
    for at, character in enumerate(text):
        if character in '"[{-0123456789' and (at == 0 or text[at - 1] in ":,[{"):
            _, end = decoder.raw_decode(text, at)
            found.append((at, end))
    return found


@pytest.mark.parametrize("kind", READERS)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(kind, value):
    reads_or_refuses(kind, value)


@pytest.mark.parametrize("kind", GOOD)
@given(st.data())
def test_a_good_one_with_any_part_made_odd_is_read_or_refused(kind, data):
    head, line, tail = GOOD[kind].decode().partition("\n")
    text = data.draw(st.sampled_from([head, *([tail] if tail else [])]))
    start, stop = data.draw(st.sampled_from(places(text)))
    odd = data.draw(st.sampled_from(ODD) | st.integers().map(str) | st.text(max_size=9).map(json.dumps))
    changed = text[:start] + odd + text[stop:]
    whole = changed + line + tail if text is head else head + line + changed
    reads_or_refuses(kind, whole.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("kind", GOOD)
@given(st.data())
def test_a_good_one_with_any_bytes_changed_is_read_or_refused(kind, data):
    value = bytearray(GOOD[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(value) - 1))
        value[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    reads_or_refuses(kind, bytes(value))


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "empty"),
        (None, "empty"),
        (b"x" * (4 << 20), "too_large"),
        (DEEP[: METADATA_LIMIT_BYTES - 1].encode(), "nesting"),
        (b'{"v":1,"v":1}', "duplicate"),
        (b'{"v":NaN}', "syntax"),
        (b"\xff\xfe{\x00}\x00", "syntax"),
        (b'\xef\xbb\xbf{"v":1}', "syntax"),
        (b"[]", "syntax"),
        (b'{"v":99}', "version"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_reason_of_a_refusal(kind, value, reason):
    if kind == "account" and value:
        value = GOOD[kind].partition(b"\n")[0] + b"\n" + value
    if (kind == "totals" and value is None) or (kind in ("account", "snapshot") and reason == "version"):
        return
    with pytest.raises(Refused) as refused:
        READERS[kind](value)
    if kind == "totals" and value[:1] in (b"\xff", b"\xef"):
        return
    assert refused.value.reason == reason


def test_an_object_inside_may_be_as_deep_as_it_likes():
    text = GOOD["usage"].decode().replace('"at_ms":', f'"more":{DEEP[:120_000]}{DEEP[80_000:]},"at_ms":')
    with pytest.raises(Refused):
        UsageRecord.decode(text.encode())


def test_too_many_tenants_are_refused_by_size_and_by_number():
    many = {f"t{n}": TenantCount(1, 1, 1) for n in range(5_000)}
    value = record(7, tenants=many).encode()
    assert len(value) < MOST_BYTES
    with pytest.raises(Refused, match="5,000 tenants"):
        UsageRecord.decode(value)


def test_packed_tenants_unpack_no_further_than_their_limit():
    bomb = b85encode(zlib.compress(b"[" + b" " * 50_000_000 + b"]", 9)).decode()
    with pytest.raises(Refused):
        unpack(bomb)


def test_a_message_shows_no_more_than_the_beginning():
    with pytest.raises(Refused) as refused:
        read_object(b"[" + b"secret " * 1_000, "thing", most=1 << 20)
    assert len(str(refused.value)) < 120


@given(st.lists(st.binary(max_size=60) | st.sampled_from(list(GOOD.values())), max_size=12))
def test_books_are_restored_from_whatever_a_changelog_holds(values):
    refused = []
    ledger = Ledger.restored(
        ((b"k%d" % n, value) for n, value in enumerate(values)),
        ((b"k%d" % n, value) for n, value in enumerate(values)),
        refuse=lambda table, error: refused.append((table, error.reason)),
    )
    accounts, beats = values.count(GOOD["account"]), values.count(GOOD["heartbeat"])
    assert len(ledger.accounts) == bool(accounts)
    assert len(ledger.beats) == bool(beats)
    assert len(refused) == 2 * len(values) - accounts - beats
