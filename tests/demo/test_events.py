"""What the demo sends: the same at every run; a file's lines as they are."""

import gzip
import json
from pathlib import Path

import pytest

from farthing.demo.events import POOL_EVENTS, FileEvents, MadeUpComments
from farthing.errors import ConfigError


def values(chunk):
    return [chunk.value(i) for i in range(len(chunk))]


def test_made_up_comments_are_the_same_at_every_run_and_without_end():
    one, other = MadeUpComments(), MadeUpComments()
    first = values(one.take(1000))
    assert first == values(other.take(1000))
    assert all(isinstance(json.loads(value)["text"], str) for value in first)
    taken = 1000
    while taken < POOL_EVENTS:
        taken += len(one.take(999))
    assert taken == POOL_EVENTS
    assert values(one.take(1000)) == first
    assert not one.done


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_a_file_s_lines_come_once_byte_for_byte(ending, tmp_path):
    lines = [b'{"id":1,"text":"a"}', b"not JSON", "naïve 😂".encode(), b'{"id":2}  ']
    path = tmp_path / f"events.{ending}"
    data = b"\n\r\n".join(lines)  # no newline at the end; empty lines between
    path.write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    events = FileEvents(path)
    assert events.name == path.name
    assert values(events.take(3)) == lines[:3]
    assert not events.done
    assert values(events.take(3)) == lines[3:]
    assert events.done
    assert events.take(3) is None


def test_a_file_that_cannot_be_read_is_said():
    with pytest.raises(ConfigError, match=r"--events nowhere\.jsonl: cannot be read"):
        FileEvents(Path("nowhere.jsonl")).take(1)


def test_a_damaged_gzip_file_is_said(tmp_path):
    path = tmp_path / "events.gz"
    path.write_bytes(gzip.compress(b'{"text":"a"}\n' * 5000)[:-20])
    events = FileEvents(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        while events.take(100) is not None:
            pass
