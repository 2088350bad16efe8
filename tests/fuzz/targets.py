"""What is fuzzed of the plain Python: for each target some seeds and a check, which takes any bytes.

A check raises nothing where the bytes are handled as they must be: read, or refused with the one kind of error that
callers expect, in one sentence. Where there is another judge (the standard library, a kernel's reference), they agree.
"""

import datetime
import itertools
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from aiohttp.test_utils import make_mocked_request

from farthing import config
from farthing.blocks import FetchedPartition, RecordBlock, Status
from farthing.errors import BundleError, ConfigError, DataError, FarthingError
from farthing.features.lexicon import Lexicon
from farthing.files import read_rows
from farthing.ledger.books import Account
from farthing.ledger.history import Snapshot
from farthing.ledger.statement_json import CHEAPEST, choice
from farthing.ledger.web import _window
from farthing.meter.calibration import read_export
from farthing.meter.facts import load_facts
from farthing.meter.money import usd
from farthing.meter.prices import PriceList
from farthing.meter.rates import Call
from farthing.meter.records import Heartbeat, TenantCount, UsageRecord
from farthing.meter.tenants import pack, unpack
from farthing.meter.usage import UsageTotals
from farthing.model.shipped import shipped_bundles
from farthing.payload import Field, FieldPlan, parse, parse_pairs, parse_path
from farthing.scoring.column_bundle import COLUMN_MANIFEST, ColumnBundle
from farthing.scoring.golden_file import Golden
from farthing.scoring.graph import read_tensors
from farthing.scoring.manifest import Manifest
from farthing.scoring.model_file import read_model
from farthing.sections import Settings
from farthing.serving.accounting import Accounting, Scored
from farthing.wire import Arena, decode
from farthing.wire.headers import own_headers, source_offsets
from tests.bundle_factory import empty_golden, make_manifest, make_tensors, model_of
from tests.column_factory import MANIFEST as COLUMNS
from tests.column_factory import tree_model
from tests.fuzz.kernels import EVENTS, batch_seeds
from tests.meter.test_facts import OWN as OWN_FACTS
from tests.meter.test_prices import OWN as OWN_PRICES
from tests.meter.test_untrusted import GOOD


@dataclass(frozen=True)
class Target:
    """Seeds, made when they are needed, and the check."""

    seeds: Callable[[], list[bytes]]
    check: Callable[[bytes], None]
    longest: int = 4096  # bytes that mutations are cut to


TARGETS: dict[str, Target] = {}


def target(seeds, *, longest=4096):
    def register(check):
        TARGETS[check.__name__] = Target(seeds if callable(seeds) else lambda: list(seeds), check, longest)
        return check

    return register


def sentence(error):
    """An error that a user can read: some text, not endless, no escape sequences."""
    text = str(error)
    if not text or len(text) > 20_000:
        raise AssertionError(f"{type(error).__name__} of {len(text)} characters")


@cache
def folder():
    return Path(tempfile.mkdtemp(prefix="farthing-fuzz-"))


def written(name, data):
    file = folder() / name
    file.write_bytes(data)
    return file


# ----------------------------------------------------------------------------------------------- settings and their grammar


@target([config.EXAMPLE.encode(), b'[kafka]\ngroup_id = "a"\n[worker]\nworkers = 3\n[[route]]\nbundle = "x/y"\nsource = "a"\nsink = "b"\n'
         b'dead_letters = "c"\nfields = {text = "a.b"}\ntenant = "user.account"\n[model]\ntrusted_keys = ["a.pem"]\n[ledger]\nport = 0\n'])  # fmt: skip
def settings(data):
    try:
        loaded = config.load(written("settings.toml", data), environment=False)
    except ConfigError as error:
        sentence(error)
        return
    list(loaded.rows())
    Settings.model_validate(loaded.settings.model_dump(by_alias=True))


@target([b"a", b"a.b.c", b"a[*].b", rb"a\.b.c\\", b"a.c[*].n.v", "é.ß[*]".encode(), b"a..b", b"[*]"])
def path(data):
    text = data.decode("utf-8", "surrogateescape")
    try:
        parsed = parse_path(text)
    except ConfigError as error:
        sentence(error)
        return
    if parse_path(str(parsed)) != parsed:
        raise AssertionError(f"{text!r} reads back as {parsed}")


@target([b"text=comment.body", b"a=b\nc=d.e[*].f", rb"plan\.fee=fee", b"id="])
def field_map(data):
    try:
        pairs = parse_pairs(data.decode("utf-8", "surrogateescape").split("\n"))
        FieldPlan((Field("id", "id", "raw"), Field("text", "text"))).mapped(pairs)
    except ConfigError as error:
        sentence(error)


# ------------------------------------------------------------------------------------------------------------------ files


@target([b'{"a":1,"b":"x"}\n{"a":2}\n', b"a,b\n1,x\n2,\n", b"a\tb\n1\t2\n", b'a,b\n"1\n2",x\n'])
def rows(data):
    try:
        for row in itertools.islice(read_rows(written("rows", data)), 1000):
            row.get("a")
    except FarthingError as error:
        sentence(error)


@target([OWN_PRICES.encode()])
def price_file(data):
    try:
        own = PriceList(datetime.date(2026, 11, 27), written("prices.toml", data))
    except ConfigError as error:
        sentence(error)
        return
    for model in ("openai:gpt-5-nano", "anthropic:claude-haiku-5-5"):  # a price of its own, and a discount
        usd(own.prices(model).standard.call_usd(Call(Fraction(1_200), Fraction(10))))


@cache
def price_list():
    return PriceList(datetime.date(2026, 11, 27))


@target(
    [
        b"model,input_tokens,output_tokens,cost_usd\ngpt-5,1000,10,0.01\n",
        b"model,requests,input_tokens,cached_input_tokens,output_tokens,cost_usd\nopenai:gpt-5,3,1000,100,10,0.01\n",
    ]
)
def usage_export(data):
    try:
        lines = [(row.line, row.values) for row in read_rows(written("export.csv", data))]
        read_export(lines, "export.csv", "openai", price_list())
    except (DataError, ConfigError) as error:
        sentence(error)


# ------------------------------------------------------------------------------------------------------------ HTTP queries


@target(
    [b"window=all&model=openai:gpt-5&mode=cheapest", b"window=day", b"mode=batch&mode=", b"model=%00%ff&window=hour"]
)
def query(data):
    text = "".join(c for c in data.decode("latin-1") if c.isprintable() and c not in " #")
    request = make_mocked_request("GET", f"/api?{text}")
    try:
        _window(request)
        choice(request.query.get("model"), request.query.get("mode", CHEAPEST), ("openai:gpt-5", "openai:gpt-5-mini"))
    except ConfigError as error:
        sentence(error)


# ---------------------------------------------------------------------------------------------- what the ledger and commits hold


def usage_seeds():
    beat = Heartbeat("w", 1, 2, "running", 1, 5, {"t": 3}, (1, 2), {"t": (1, 2, 3)}, {"m": (1,)}, {"t": {1: 2}})
    old = json.dumps({**json.loads(beat.encode()), "latency": {"t": [10**30]}}).encode()
    tenants, _ = pack({"acme": TenantCount(3, 0, 300), "b": TenantCount(1, 1, 1)}, 1_000)
    return [*GOOD.values(), beat.encode(), old, tenants.encode()]


def decoded(read, refusal=ValueError):
    """Checks of a reader that refuses with one kind of error alone."""

    def check(data):
        try:
            read(data)
        except refusal as error:
            sentence(error)

    return check


for _name, _read in {
    "usage_record": lambda data: UsageRecord.decode(data).encode(),
    "heartbeat": lambda data: (beat := Heartbeat.decode(data)).encode() and beat.events_by_age,
    "usage_totals": lambda data: UsageTotals.decode(data.decode("utf-8", "replace")).encode(),
    "account": Account.decode,
    "snapshot": Snapshot.decode,
    "tenants": lambda data: unpack(data.decode("latin-1")),
}.items():
    TARGETS[_name] = Target(usage_seeds, decoded(_read))
_facts = decoded(lambda data: load_facts(written("facts.toml", data)), ConfigError)
TARGETS["facts_file"] = Target(lambda: [OWN_FACTS.encode()], _facts)


@target(lambda: [b"", b"{}", *usage_seeds()])
def commit_metadata(data):
    """Whatever another client wrote as a commit's metadata: counting goes on, from nothing where it is not ours."""
    accounting = Accounting({"t": Scored("m@1", "moderation")}, most_tenants=5)
    accounting.assign(("t", 0), 7, data.decode("utf-8", "replace"))
    for text in accounting.metadata([("t", 0)]).values():
        if len(text) > 4096:
            raise AssertionError(f"metadata of {len(text)} characters")


# -------------------------------------------------------------------------------------------------------------------- bundles


def refused_bundle(read):
    def check(data):
        try:
            read(data)
        except BundleError as error:
            sentence(error)
            if not str(error).isprintable():
                raise AssertionError(f"not one line: {error!r}") from error

    return check


def manifest_seeds():
    files = {"CARD.md": "00", "golden.npz": "00", "model.onnx": "00"}
    return [make_manifest().to_json(files), *((f / "manifest.json").read_bytes() for f in shipped_bundles().values())]


def small_model():
    return model_of(make_manifest(), make_tensors(n_buckets=16)).SerializeToString()


def small_lexicon():
    n = 8
    arrays = (np.zeros(n, np.uint16), np.zeros(n, np.uint8), np.zeros(n, np.uint8), np.zeros((n, 0), np.int8))
    return Lexicon(*arrays, np.zeros(1, np.uint8), np.ones(n, np.uint8)).to_npz()


def read_columns(data):
    written("churn.onnx", tree_model().SerializeToString())
    written(COLUMN_MANIFEST, data)
    ColumnBundle.load(folder()).manifest.as_manifest()


for _name, _seeds, _read in (
    ("manifest", manifest_seeds, Manifest.from_json),
    ("golden", lambda: [empty_golden(make_tensors(n_buckets=16)).to_npz()], Golden.from_npz),
    ("lexicon", lambda: [small_lexicon()], Lexicon.from_npz),
    ("model", lambda: [small_model()], lambda data: read_tensors(read_model(data, "model.onnx"))),
    ("column_manifest", lambda: [COLUMNS.encode(), b'name="a"\nmodel="churn.onnx"\ncolumns=["x"]\n'], read_columns),
):
    TARGETS[_name] = Target(_seeds, refused_bundle(_read), 1 << 16)


# --------------------------------------------------------------------------------------------------- record batches and events


@target(lambda: list(batch_seeds()), longest=1 << 14)
def record_batches(data):
    """Fetched bytes: what can be read is within the bytes, what cannot is a fault of the partition."""
    found = decode([FetchedPartition("t", 0, 0, 0, data), FetchedPartition("u", 1, 5, 0, data)], Arena())
    for start, stop in ((found.key_start, found.key_stop), (found.value_start, found.value_stop)):
        if ((start < -1) | (stop < start) | (stop > len(found.buffer))).any():
            raise AssertionError("a record outside the bytes")
    for segment in found.segments:
        if segment.fault is not None:
            sentence(segment.fault)
        if segment.next_offset < segment.first_offset:
            raise AssertionError("the offset goes back")
    source_offsets(found, b"farthing.offset")
    own_headers(found, np.arange(len(found)), 64)


PLAN = FieldPlan((Field("id", "id", "raw"), Field("text", "text")))


def strict(data):
    """What the standard library says that an event is; raises ValueError where it is none that we accept."""

    def no(text):
        raise ValueError(text)

    def finite(text):
        return float(text) if math.isfinite(float(text)) else no("overflow")

    text = data.decode()
    value = json.loads(text, parse_constant=no, parse_float=finite, parse_int=finite)
    json.dumps(value, ensure_ascii=False).encode()  # lone surrogates
    return value


@target(lambda: list(EVENTS))
def event(data):
    """The JSON reference accepts what the standard library does, less NaN, surrogates without a partner and depth."""
    one = parse(RecordBlock.of_values([data]), PLAN)
    status = Status(int(one.status[0]))
    try:
        value = strict(data)
    except (ValueError, RecursionError):
        if status in (Status.OK, Status.WRONG_TYPE, Status.NOT_AN_OBJECT):
            raise AssertionError(f"{status.name}, and the standard library refuses it") from None
        return
    if status in (Status.SYNTAX, Status.INVALID_UTF8, Status.CONTROL_CHARACTER, Status.TRAILING_BYTES):
        raise AssertionError(f"{status.name}, and the standard library reads {value!r}")
    if status == Status.OK and isinstance(value.get("text"), str):
        column = one.columns["text"]
        if column.data[: column.indptr[1]].tobytes() != value["text"].encode():
            raise AssertionError("another text")


@target(lambda: [tree_model().SerializeToString(), small_model()], longest=1 << 14)
def onnx_parts(data):
    """A file is counted as protobuf parses it: what protobuf accepts is not refused for its form."""
    try:
        read_model(data, "model.onnx")
    except BundleError as error:
        try:
            onnx.load_model_from_string(data)
        except Exception:  # both refuse it
            return
        if "group" not in str(error) and "wire type" not in str(error) and "nested" not in str(error):
            raise AssertionError(f"protobuf reads it: {error}") from error
