"""Estimates tokens from bytes, with an interval: by the user's tokenizer file on sampled events, or by a stated ratio.

The ratio depends on the script: a token has about four bytes of English or seven of Hindi. Each sampled text counts for
the script of most of its letters. Providers' tokenizers differ, so the result is multiplied by a factor of the model's
family (``facts.toml``), which is 1 for a tokenizer that the user says is the model's own.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import FunctionType, MappingProxyType
from typing import Final, Literal

from farthing.errors import ConfigError, extra
from farthing.meter.facts import BytesPerToken, TokenizerFact
from farthing.meter.money import Interval

Script = Literal["ascii", "latin", "cyrillic", "arabic", "indic", "cjk", "other", "structured"]
SCRIPTS: Final[tuple[Script, ...]] = ("ascii", "latin", "cyrillic", "arabic", "indic", "cjk", "other", "structured")

# Code points from the Unicode block table: (first, last, script). Anything outside these ranges is "other".
_BLOCKS: Final[tuple[tuple[int, int, Script], ...]] = (
    (0x0041, 0x024F, "latin"),
    (0x0400, 0x052F, "cyrillic"),
    (0x0600, 0x08FF, "arabic"),  # Arabic, Syriac, Thaana and their supplements
    (0x0900, 0x0DFF, "indic"),  # Devanagari to Sinhala
    (0x0E00, 0x0FFF, "indic"),  # Thai, Lao, Tibetan
    (0x1000, 0x109F, "indic"),  # Myanmar
    (0x1100, 0x11FF, "cjk"),  # Hangul Jamo
    (0x1780, 0x17FF, "indic"),  # Khmer
    (0x1E00, 0x1EFF, "latin"),
    (0x3040, 0x30FF, "cjk"),  # Hiragana, Katakana
    (0x3400, 0x9FFF, "cjk"),
    (0xAC00, 0xD7AF, "cjk"),  # Hangul syllables
    (0x20000, 0x3FFFF, "cjk"),
)

SPREAD: Final = 2
"""How many standard errors a sampled ratio's interval extends to each side: about 95 %."""


def script_of(text: str) -> Script:
    """Return the script of most of a text's letters.

    ``ascii`` is Latin without letters outside ASCII (mostly English), ``latin`` has some; JSON objects and arrays are
    ``structured``, and a text without letters is ``other``.
    """
    bare = text.strip()
    if bare[:1] in ("{", "[") and bare[-1:] in ("}", "]") and bare.count('"') >= 4:
        return "structured"
    counts: dict[Script, int] = {}
    all_ascii = True
    for character in text:
        if not character.isalpha():
            continue
        point = ord(character)
        all_ascii = all_ascii and point < 0x80
        script: Script = next((name for first, last, name in _BLOCKS if first <= point <= last), "other")
        counts[script] = counts.get(script, 0) + 1
    if not counts:
        return "other"
    most = max(counts, key=lambda script: counts[script])
    return "ascii" if most == "latin" and all_ascii else most


@dataclass(frozen=True, slots=True)
class TextSample:
    """Counts of some sampled texts; they add up. The last six are filled when a tokenizer counted the tokens."""

    texts: int = 0
    bytes_by_script: Mapping[Script, int] = field(default_factory=lambda: MappingProxyType({}))
    tokens: int = 0  # tokens of the texts that a tokenizer counted
    counted_texts: int = 0
    counted_bytes: int = 0
    bytes_squared: int = 0
    tokens_squared: int = 0
    bytes_times_tokens: int = 0

    @classmethod
    def of(cls, text: str, count: Callable[[str], int] | None = None) -> TextSample:
        """Sample one text; ``count`` returns its tokens, if the user has a tokenizer."""
        size = len(text.encode())
        by_script = {script_of(text): size}
        if count is None:
            return cls(1, by_script)
        tokens = count(text)
        return cls(1, by_script, tokens, 1, size, size * size, tokens * tokens, size * tokens)

    def as_ints(self) -> tuple[int, ...]:
        """Return all counts in one row, those by script last, in the order of ``SCRIPTS``: for a heartbeat."""
        counted = (self.counted_bytes, self.bytes_squared, self.tokens_squared, self.bytes_times_tokens)
        by_script = (self.bytes_by_script.get(script, 0) for script in SCRIPTS)
        return (self.texts, self.tokens, self.counted_texts, *counted, *by_script)

    @classmethod
    def of_ints(cls, row: Sequence[int]) -> TextSample:
        """Read what :meth:`as_ints` returned; ValueError if it has another length."""
        if len(row) != 7 + len(SCRIPTS):
            raise ValueError(f"a text sample has {7 + len(SCRIPTS)} counts, not {len(row)}")
        texts, tokens, counted_texts, counted_bytes, squares, token_squares, products = row[:7]
        by_script = {script: size for script, size in zip(SCRIPTS, row[7:], strict=True) if size}
        return cls(texts, by_script, tokens, counted_texts, counted_bytes, squares, token_squares, products)

    def __add__(self, other: TextSample) -> TextSample:
        by_script = dict(self.bytes_by_script)
        for script, size in other.bytes_by_script.items():
            by_script[script] = by_script.get(script, 0) + size
        return TextSample(
            self.texts + other.texts,
            by_script,
            self.tokens + other.tokens,
            self.counted_texts + other.counted_texts,
            self.counted_bytes + other.counted_bytes,
            self.bytes_squared + other.bytes_squared,
            self.tokens_squared + other.tokens_squared,
            self.bytes_times_tokens + other.bytes_times_tokens,
        )


@dataclass(frozen=True, slots=True)
class TokenEstimate:
    """Tokens per byte, and the method of the estimate."""

    per_byte: Interval
    method: str


def by_ratio(
    table: BytesPerToken, bytes_by_script: Mapping[Script, int], tokenizer: TokenizerFact | None
) -> TokenEstimate:
    """Estimate from the stated ratios.

    Parameters
    ----------
    table:
        Bytes per token by script.
    bytes_by_script:
        Weights of the scripts, in any unit.
    tokenizer:
        The model's family; None uses the table unchanged.

    Raises
    ------
    ValueError
        All weights are zero.
    """
    total = sum(bytes_by_script.values())
    if total <= 0:
        raise ValueError("no sampled bytes: the share of scripts is undefined")
    bounds = [Fraction(0)] * 3
    for script, size in bytes_by_script.items():
        for at, ratio in enumerate(getattr(table, script)):  # the most bytes per token come first: the fewest tokens
            bounds[at] += Fraction(size, total) / Fraction(ratio)
    per_byte = Interval(*bounds)
    family = "as the table's"
    if tokenizer is not None:
        per_byte = per_byte.times(Interval.of(*tokenizer.factor))
        family = tokenizer.name
    scripts = ", ".join(script for script in SCRIPTS if bytes_by_script.get(script))
    return TokenEstimate(per_byte, f"stated ratio for {scripts} (tokenizer: {family})")


def by_sample(sample: TextSample, name: str, tokenizer: TokenizerFact | None = None) -> TokenEstimate:
    """Estimate from counted texts: the ratio of sums, plus or minus ``SPREAD`` standard errors of a ratio estimator.

    Cochran, Sampling Techniques, 3rd ed., 6.4: var(r) = sum((t - r b)^2) / (n (n - 1) mean(b)^2).

    Parameters
    ----------
    sample:
        A sample whose ``counted_texts`` are at least 2.
    name:
        Name of the tokenizer file, to be stated in the method.
    tokenizer:
        Given if the file is not the model's own tokenizer: the result is multiplied by its factor.

    Raises
    ------
    ValueError
        There are fewer than two counted texts, or no bytes.
    """
    n, size = sample.counted_texts, sample.counted_bytes
    if n < 2 or not size:
        raise ValueError(f"{n} counted texts of {size} bytes: a ratio with an interval needs two")
    ratio = Fraction(sample.tokens, size)
    squares = sample.tokens_squared - 2 * ratio * sample.bytes_times_tokens + ratio * ratio * sample.bytes_squared
    variance = max(squares, Fraction(0)) * n / ((n - 1) * size * size)  # below 0 for sums that no texts have
    error = SPREAD * _root_above(variance)
    per_byte = Interval(max(Fraction(0), ratio - error), ratio, ratio + error)
    method = f"counted with {name} on {n:,} sampled texts"
    if tokenizer is not None:
        per_byte = per_byte.times(Interval.of(*tokenizer.factor))
        method += f", then a factor for another tokenizer ({tokenizer.name})"
    return TokenEstimate(per_byte, method)


def _root_above(value: Fraction) -> Fraction:
    """Return the square root, rounded up to a billionth: the interval may be too wide, but never too narrow."""
    scale = 10**9
    return Fraction(math.isqrt(value.numerator * scale * scale // value.denominator) + 1, scale) if value else value


def load_tokenizer(path: Path) -> Callable[[str], int]:
    """Return a function that counts a text's tokens, from a tokenizer file; nothing is downloaded.

    Parameters
    ----------
    path:
        ``*.json`` as written by the ``tokenizers`` library, or a rank file of ``tiktoken`` named for its encoding,
        such as ``o200k_base.tiktoken``.

    Raises
    ------
    ConfigError
        The file cannot be read, is of another kind, or the extra ``tokens`` is not installed.
    """
    try:
        if path.suffix == ".json":
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
            return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
        if path.suffix == ".tiktoken":
            return _tiktoken(path)
    except ImportError as error:
        raise ConfigError(f"{path}: reading it needs more: {extra('tokens')} ({error})") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as a tokenizer: {error}") from error
    except Exception as error:  # tokenizers raises plain Exception for a file that it cannot parse
        raise ConfigError(f"{path}: is not a tokenizer of the tokenizers library: {error}") from error
    raise ConfigError(f"{path}: a tokenizer file ends in .json (tokenizers) or .tiktoken (ranks)")


def _tiktoken(path: Path) -> Callable[[str], int]:
    import tiktoken
    from tiktoken_ext import openai_public

    constructor = openai_public.ENCODING_CONSTRUCTORS.get(path.stem)
    if constructor is None:
        encodings = ", ".join(sorted(openai_public.ENCODING_CONSTRUCTORS))
        raise ValueError(f"name it after its encoding, one of {encodings}")
    ranks = {}
    for line in path.read_bytes().splitlines():
        if line:
            token, rank = line.split()
            ranks[base64.b64decode(token)] = int(rank)
    # How text is split is defined in tiktoken's constructor, which would fetch the ranks; here they come from the file.
    offline = FunctionType(
        constructor.__code__, {**constructor.__globals__, "load_tiktoken_bpe": lambda *_, **__: ranks}
    )
    encoding = tiktoken.Encoding(**offline())
    return lambda text: len(encoding.encode(text, disallowed_special=()))
