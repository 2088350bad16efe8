"""Tokens: the script decides the ratio, samples add up, a counted sample's interval is Cochran's."""

import base64
import json
import math
import statistics
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.errors import ConfigError
from farthing.meter.facts import load_facts
from farthing.meter.money import Interval
from farthing.meter.tokens import SCRIPTS, TextSample, by_ratio, by_sample, load_tokenizer, script_of

FACTS = load_facts()
TABLE = FACTS.bytes_per_token


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("have a nice day", "ascii"),
        ("Übermäßig schön", "latin"),
        ("xin chào các bạn", "latin"),
        ("добрый день, friend", "cyrillic"),
        ("صباح الخير", "arabic"),
        ("नमस्ते दुनिया", "indic"),
        ("สวัสดีชาวโลก", "indic"),
        ("你好,世界", "cjk"),
        ("こんにちは", "cjk"),
        ("안녕하세요", "cjk"),
        ("Καλημέρα κόσμε", "other"),
        ("שלום עולם", "other"),
        ("🔥🔥🔥 123 !!", "other"),
        ("", "other"),
        ('{"id": "1", "imp": []}', "structured"),
        ("{not json}", "ascii"),
    ],
)
def test_script_of_a_text(text, script):
    assert script_of(text) == script


@given(st.text(max_size=40))
def test_every_text_has_a_script(text):
    assert script_of(text) in SCRIPTS


weights = st.dictionaries(st.sampled_from(SCRIPTS), st.integers(1, 10**9), min_size=1)


@given(weights, st.integers(1, 50))
def test_a_ratio_depends_on_shares_only(by_script, factor):
    family = FACTS.tokenizer("openai:gpt-5-nano")
    more = {script: size * factor for script, size in by_script.items()}
    assert by_ratio(TABLE, by_script, family) == by_ratio(TABLE, more, family)
    low = min(1 / max(getattr(TABLE, script)) for script in by_script)
    high = max(1 / min(getattr(TABLE, script)) for script in by_script)
    found = by_ratio(TABLE, by_script, None).per_byte
    assert (
        Fraction(low) * Fraction(999, 1000)
        <= found.low
        <= found.mid
        <= found.high
        <= Fraction(high) * Fraction(1001, 1000)
    )


def test_families_go_on_top_and_are_named():
    plain = by_ratio(TABLE, {"ascii": 1}, FACTS.tokenizer("openai:gpt-5-nano"))
    newer = by_ratio(TABLE, {"ascii": 1}, FACTS.tokenizer("anthropic:claude-haiku-5-5"))
    older = by_ratio(TABLE, {"ascii": 1}, FACTS.tokenizer("anthropic:claude-haiku-4-5"))
    assert plain.per_byte.mid == Fraction(10, 41)
    assert plain.per_byte.mid < older.per_byte.mid < newer.per_byte.mid
    assert "o200k_base" in plain.method
    assert "Claude, 4.7 and later" in newer.method
    with pytest.raises(ValueError, match="undefined"):
        by_ratio(TABLE, {}, None)


texts = st.lists(st.text(min_size=1, max_size=30), min_size=2, max_size=25)


def words(text):
    return len(text.split()) + len(text) // 3


@given(texts, texts)
def test_samples_add_up(a, b):
    def sample(of):
        return sum((TextSample.of(text, words) for text in of), TextSample())

    together = sample(a + b)
    assert sample(a) + sample(b) == together
    assert TextSample.of_ints(together.as_ints()) == together
    assert together.counted_bytes == sum(len(text.encode()) for text in a + b)
    with pytest.raises(ValueError, match="counts"):
        TextSample.of_ints(together.as_ints()[1:])


@given(texts)
def test_a_counted_ratio_has_cochrans_interval(of):
    sample = sum((TextSample.of(text, words) for text in of), TextSample())
    sizes, tokens = [len(text.encode()) for text in of], [words(text) for text in of]
    ratio = sum(tokens) / sum(sizes)
    squares = sum((t - ratio * b) ** 2 for b, t in zip(sizes, tokens, strict=True))
    error = math.sqrt(squares / (len(of) * (len(of) - 1))) / statistics.mean(sizes)
    found = by_sample(sample, "words").per_byte
    assert found.mid == Fraction(sum(tokens), sum(sizes))
    assert float(found.high - found.mid) == pytest.approx(2 * error, rel=1e-6, abs=1e-6)
    assert float(found.low) == pytest.approx(max(0.0, ratio - 2 * error), rel=1e-6, abs=1e-6)


def test_equal_texts_leave_nothing_uncertain_but_another_tokenizer_does():
    sample = TextSample.of("four", len) + TextSample.of("four", len)
    assert by_sample(sample, "file").per_byte == Interval.of(1)
    other = by_sample(sample, "file", FACTS.tokenizer("anthropic:claude-haiku-5-5"))
    assert not other.per_byte.is_exact
    assert "another tokenizer" in other.method
    with pytest.raises(ValueError, match="needs two"):
        by_sample(TextSample.of("one", len), "file")


def ranks(path, merges):
    tokens = [bytes([b]) for b in range(256)] + merges
    path.write_text("\n".join(f"{base64.b64encode(t).decode()} {rank}" for rank, t in enumerate(tokens)) + "\n")


def test_a_tiktoken_file_counts_without_the_network(tmp_path, monkeypatch):
    pytest.importorskip("tiktoken")
    monkeypatch.setattr("socket.socket.connect", None)
    path = tmp_path / "cl100k_base.tiktoken"
    ranks(path, [b"th", b"the"])
    count = load_tokenizer(path)
    assert count("the") == 1
    assert count("thx") == 2
    assert count("<|endoftext|>") > 1  # text, not a control token
    wrong = tmp_path / "mine.tiktoken"
    ranks(wrong, [])
    with pytest.raises(ConfigError, match=r"name it after its encoding.*o200k_base"):
        load_tokenizer(wrong)


def test_a_tokenizers_file_counts(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="in the extra tokens, which the tests do not need otherwise")
    model = tokenizers.models.WordLevel({"have": 0, "a": 1, "day": 2, "?": 3}, unk_token="?")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    assert load_tokenizer(path)("have a nice day") == 4
    path.write_text(json.dumps({"nothing": 1}))
    with pytest.raises(ConfigError, match="not a tokenizer"):
        load_tokenizer(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"ends in \.json"):
        load_tokenizer(tmp_path / "tokenizer.model")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_tokenizer(tmp_path / "o200k_base.tiktoken")
