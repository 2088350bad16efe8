"""Mutations of bytes: many at once for kernels, one after another for what is plain Python. All from a seed."""

import numpy as np

TOKENS = (
    b'{"', b'":', b"[", b"]", b"{", b"}", b",", b'"', b"\\", b"\\u", b"\\ud83d", b"\\udc00", b"\\u0000", b"null", b"true",
    b"-", b"0", b"1e", b"1e999", b"1E-400", b"0.1", b"123456789012345678901234567890", b"\xff", b"\xc0\x80", b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xef\xbb\xbf", b"\x00", b"\x1f", b"\x7f", b" ", b"\n", b"[[[[[[[[", b'{"a":' * 8,
    b"text", b"id", b"NaN", b"Infinity", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", b"\xff\xff\xff\xff\x0f", b"\x01" * 8,
)  # fmt: skip
EDGES = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)


def mutated(rng, data, others=(b"",)):
    """One more mutation of ``data`` after another, one to eight of them."""
    data = bytearray(data)
    for _ in range(1 << int(rng.integers(0, 4))):
        at = int(rng.integers(0, len(data) + 1))
        kind = int(rng.integers(0, 9))
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1 and data:
            data[at % len(data)] = EDGES[int(rng.integers(0, len(EDGES)))]
        elif kind == 2:
            data[at:at] = rng.integers(0, 256, int(rng.integers(1, 9)), np.uint8).tobytes()
        elif kind == 3:
            del data[at : at + int(rng.integers(1, 9))]
        elif kind == 4:
            data[at:at] = TOKENS[int(rng.integers(0, len(TOKENS)))]
        elif kind == 5:
            stop = at + int(rng.integers(1, 33))
            data[at:at] = data[at:stop]
        elif kind == 6:
            del data[at:]
        elif kind == 7:
            other = others[int(rng.integers(0, len(others)))]
            start = int(rng.integers(0, len(other) + 1))
            data[at : at + len(other) - start] = other[start:]
        elif len(data) >= 4:
            at = min(at, len(data) - 4)
            data[at : at + 4] = int(rng.choice([0, 1, -1, 2**31 - 1, -(2**31), 61, 1 << 20])).to_bytes(
                4, "big", signed=True
            )
    return bytes(data)


def mutated_many(rng, seeds, n):
    """``n`` mutations of ``seeds``: joined bytes, and where each begins and ends (n+1). Most are made by NumPy alone."""
    chosen = [seeds[k] for k in rng.integers(0, len(seeds), n)]
    for k in np.flatnonzero(rng.random(n) < 0.25):  # lengths change in these
        chosen[k] = mutated(rng, chosen[k], seeds)
    bounds = np.zeros(n + 1, np.int64)
    np.cumsum([len(one) for one in chosen], out=bounds[1:])
    data = np.frombuffer(bytearray(b"".join(chosen)), np.uint8)
    if len(data):
        flips = rng.integers(0, len(data), n)
        data[flips] ^= np.uint8(1) << rng.integers(0, 8, n).astype(np.uint8)
        edges = rng.integers(0, len(data), n // 2)
        data[edges] = rng.choice(np.array([*EDGES, *b'"\\{}[],:0e.-'], np.uint8), len(edges))
    return data, bounds
