"""One reader: whatever a file is called, packed by or written with, the same rows come out; what is wrong is named."""

import csv
import gzip
import io
import json
import os
import random
import threading

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.errors import ConfigError, DataError
from farthing.files import file_sha256, open_source, read_lines, read_rows
from farthing.limits import MAX_EVENT_BYTES

BOM = b"\xef\xbb\xbf"
PACKED = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "two gzip members": lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:]),
    "two zstd frames": lambda data: zstd.compress(data[:7]) + zstd.compress(data[7:]),
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
# A tab and a line end in one cell of a table of tabs may look like two rows: see the test of its own.
CELLS = st.lists(st.tuples(TEXT, st.text('ab",;\r\n', max_size=8), st.text("01", max_size=2)), min_size=1, max_size=5)


def table(rows, *, delimiter, quoting, ends):
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=ends)
    writer.writerow(["first", "second", "third"])
    writer.writerows(rows)
    return out.getvalue()


@settings(max_examples=150, deadline=None)
@given(
    rows=CELLS,
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    ends=st.sampled_from(["\n", "\r\n"]),
    packed=st.sampled_from(sorted(PACKED)),
    bom=st.booleans(),
    final=st.booleans(),
)
def test_a_table_is_read_as_it_was_written(tmp_path_factory, rows, delimiter, quoting, ends, packed, bom, final):
    if quoting == csv.QUOTE_MINIMAL and ends == "\n":  # Python's writer leaves a lone carriage return bare then
        rows = [tuple(cell.replace("\r", "") for cell in row) for row in rows]
    if delimiter == "\t":
        rows = [tuple(cell.replace("\t", " ") for cell in row) for row in rows]
    data = table(rows, delimiter=delimiter, quoting=quoting, ends=ends).encode()
    data = BOM * bom + (data if final else data.removesuffix(ends.encode()))
    path = tmp_path_factory.mktemp("files") / "unknown.suffix"
    path.write_bytes(PACKED[packed](data))
    found = list(read_rows(path))
    assert [tuple(row.values.values()) for row in found] == rows
    assert all(list(row.values) == ["first", "second", "third"] and not row.typed for row in found)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.dictionaries(TEXT, TEXT | st.integers() | st.none(), max_size=3), min_size=1, max_size=5),
    ends=st.sampled_from(["\n", "\r\n", "\n\n"]),
    packed=st.sampled_from(sorted(PACKED)),
    bom=st.booleans(),
    final=st.booleans(),
    ascii_only=st.booleans(),
)
def test_json_lines_are_read_as_they_were_written(tmp_path_factory, rows, ends, packed, bom, final, ascii_only):
    lines = [json.dumps(row, ensure_ascii=ascii_only).encode() for row in rows]
    data = BOM * bom + ends.encode().join(lines) + ends.encode() * final
    path = tmp_path_factory.mktemp("files") / "rows.csv"  # the name says nothing
    path.write_bytes(PACKED[packed](data))
    assert [row.values for row in read_rows(path)] == rows
    assert [line for _, line in read_lines(path)] == lines


@pytest.mark.parametrize("packed", ["plain", "gzip", "zstd"])
def test_a_pipe_is_read_as_it_is_written_and_once(tmp_path, packed):
    """Each line comes through before the next is written: plain text at once, packed text by whole frames."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    taken = threading.Event()

    def write():
        with path.open("wb", buffering=0) as pipe:
            for n in range(3):
                pipe.write(PACKED[packed](b'{"n":%d}\n' % n + b" " * 10 + b"\n"))
                assert taken.wait(60)
                taken.clear()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    found = []
    for _, line in read_lines(path):
        found.append(json.loads(line)["n"])
        taken.set()
    writer.join(60)
    assert found == [0, 1, 2]


def test_a_packed_file_is_not_held_in_memory(tmp_path):
    path = tmp_path / "bomb.zst"
    with zstd.open(path, "wb") as file:
        for n in range(200):
            filled = random.Random(n).randbytes(500).hex().encode() + b"x" * 1_000_000
            file.write(b'{"text":"' + filled + b'"}\n')
    assert path.stat().st_size < 1_000_000
    with open_source(path) as source:
        assert source.size_bytes == path.stat().st_size
        lines = source.lines()
        next(lines)
        assert source.position_bytes < source.size_bytes
        assert sum(1 for _ in lines) == 199
        assert source.position_bytes == source.size_bytes


@pytest.mark.parametrize("data", [gzip.compress(b'{"a":1}\n' * 9_999), zstd.compress(b'{"a":1}\n' * 9_999)])
def test_what_is_cut_off_is_said(tmp_path, data):
    path = tmp_path / "cut"
    path.write_bytes(data[:-6])
    with pytest.raises(DataError, match=r"cut, after line \d+: cannot be read any further .*get the file again"):
        list(read_lines(path))


def test_a_mark_that_would_swallow_rows_is_named(tmp_path):
    path = tmp_path / "marks.tsv"
    path.write_text('text\tlabel\nfine\t0\n"so he said\t1\nmore of it\t0\nand left"\t1\nend\t0\n')
    with pytest.raises(DataError, match=r"row 2 \(line 3\): a cell begins with a quotation mark .* line 5 only"):
        list(read_rows(path))
    path.write_text('text\tlabel\n"a line\nand another"\t1\n"a\tb"\t0\n')  # its first line is no whole row
    assert [row.values["text"] for row in read_rows(path)] == ["a line\nand another", "a\tb"]
    path.write_text('text\tlabel\n"never closed\t1\nb\t0\n')
    with pytest.raises(DataError, match=r"row 1 \(line 2\): not CSV .*unexpected end"):
        list(read_rows(path))


@pytest.mark.parametrize("separator", ",;\t")
def test_a_cell_may_be_as_long_as_an_event(tmp_path, separator):
    path = tmp_path / "long"
    longest = "x" * MAX_EVENT_BYTES
    path.write_text(f"text{separator}label\n{longest}{separator}1\n")
    assert next(read_rows(path)).values["text"] == longest
    path.write_text(f"text{separator}label\na{separator}0\n{longest}y{separator}1\n")
    with pytest.raises(DataError, match=r"row 2 \(line 3\): a cell is longer than 1,048,576 .*line 3"):
        list(read_rows(path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"text,label,text\na,1,b\n", "the header names text twice"),
        (b"text,,\na,,\n", r"the header names '' \(no name\) twice"),
        (b'{"text":"a","text":"b"}\n', r"row 1 \(line 1\): has text twice"),
        (b"\xff\xfet\x00e\x00", "is UTF-16; save the file as UTF-8"),
        (b"text\n\xe9t\xe9\n", "line 2: not UTF-8"),
        (b"a,b\n1\n", r"row 1 \(line 2\): has 1 cells, the header 2"),
        (b"", "has no rows"),
        (b"a,b\n", "has no rows"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, said):
    path = tmp_path / "wrong"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        list(read_rows(path))


def test_what_cannot_be_read_here_is_named(tmp_path):
    path = tmp_path / "book.csv"
    for magic, said in ((b"PK\x03\x04", "spreadsheet"), (b"\xfd7zXZ\x00", "xz"), (b"\x04\x22\x4d\x18", "lz4")):
        path.write_bytes(magic + b"rest")
        with pytest.raises(ConfigError, match=f"book.csv: is .*{said}"):
            list(read_rows(path))
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            list(read_rows(missing))
        with pytest.raises(ConfigError, match="cannot be read"):
            file_sha256(missing)


def test_nested_values_of_one_name_are_no_columns(tmp_path):
    path = tmp_path / "rows"
    path.write_text('{"a":{"b":1,"b":2},"c":3}\n')
    assert next(read_rows(path)).get("c") == 3
