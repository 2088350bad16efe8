"""Made-up messages: a Hypothesis strategy for the body of any version of any table."""

from hypothesis import strategies as st

from farthing.kafka import protocol
from farthing.kafka.protocol import NO_TOPIC_ID, Api

APIS = sorted((found for found in vars(protocol).values() if isinstance(found, Api)), key=lambda api: api.key)

TEXTS = st.text(max_size=12)
PRIMITIVES = {
    "bool": st.booleans(),
    "int8": st.integers(-(2**7), 2**7 - 1),
    "int16": st.integers(-(2**15), 2**15 - 1),
    "uint16": st.integers(0, 2**16 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "uint32": st.integers(0, 2**32 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(allow_nan=False),
    "string": TEXTS,
    "bytes": st.binary(max_size=40),
    "records": st.one_of(st.binary(max_size=40), st.binary(min_size=1_100, max_size=1_200)),
    "uuid": st.one_of(st.just(NO_TOPIC_ID), st.binary(min_size=16, max_size=16)),
}


def bodies(fields, version):
    """A message with every field of the version."""
    return st.fixed_dictionaries({f.name: _values(f, version) for f in fields if version in f.versions})


def _values(field, version):
    one = bodies(field.fields, version) if field.fields else PRIMITIVES[field.element]
    values = st.lists(one, max_size=3) if field.is_array else one
    return st.one_of(st.none(), values) if version in field.nullable else values


def completed(fields, version, body):
    """A body as it is read: fields that the version lacks have their defaults."""
    return {f.name: _completed(f, version, body[f.name]) if version in f.versions else f.default for f in fields}


def _completed(field, version, value):
    if value is None or not field.fields:
        return value
    if field.is_array:
        return [completed(field.fields, version, one) for one in value]
    return completed(field.fields, version, value)


def plain(value):
    """Views as bytes and tuples as lists, so that messages can be compared."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return bytes(value) if isinstance(value, memoryview) else value


def joined(pieces):
    return b"".join(bytes(piece) for piece in pieces)
