"""The one reader of data files: JSON lines, CSV or TSV, perhaps compressed (gzip, zstd), from a file, a pipe or ``-``.

The format is recognised by the content and never by the name. A byte order mark, which spreadsheets write, is skipped.
Every message names the file and the row or line, and says what to do.

::

    open_source(file)  -> Source                 its lines as bytes, how far it has been read, how large the file is
    read_lines(file)   -> (number, line) ...     lines that are not blank: events
    read_rows(file)    -> Row ...                rows of JSON lines or of a table
    keep_apart(inputs, outputs)                  refuses an output that would overwrite an input
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
