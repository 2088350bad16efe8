"""The one reader of data files: JSON lines, CSV and TSV, packed by gzip or zstd or not, from a file, a pipe or ``-``.

What a file is, its content says and never its name. A byte order mark, which spreadsheets write, is skipped. Every
message names the file, the row or the line, and what to do.

::

    open_source(file)  -> Source                 its lines as bytes, how far they are read, how large the file is
    read_lines(file)   -> (number, line) ...     lines that hold something: events
    read_rows(file)    -> Row ...                rows of JSON lines or of a table
    keep_apart(inputs, outputs)                  refuses what would write over its own input
"""

from __future__ import annotations

from farthing.files.apart import Named, keep_apart
from farthing.files.rows import MISSING, Row, read_rows
from farthing.files.source import STANDARD_INPUT, Source, file_sha256, open_source, read_lines

__all__ = [
    "MISSING",
    "STANDARD_INPUT",
    "Named",
    "Row",
    "Source",
    "file_sha256",
    "keep_apart",
    "open_source",
    "read_lines",
    "read_rows",
]
