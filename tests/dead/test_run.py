"""What ``farthing dead`` prints: texts of strangers are escaped, hints repeat the settings file, errors are short."""

from pathlib import Path

import pytest

from farthing.dead import run as module
from farthing.dead.letters import Letter
from farthing.dead.selection import Selection
from farthing.errors import ConfigError
from farthing.sections import Settings

SETTINGS = Settings(route=[{"bundle": "moderation", "source": "e", "sink": "s", "dead_letters": "d"}])
EVIL = "\x1b[2J\nx\x07"
ERROR = {"offset": "5", "reason": EVIL, "topic": "e", "model": EVIL, "stage": EVIL, EVIL: EVIL}


@pytest.fixture
def letters(monkeypatch):
    found = []

    async def letters_of(*_):
        for letter in found:
            yield letter

    monkeypatch.setattr(module, "letters_of", letters_of)
    return found


async def show(**more):
    given = {"limit": 10, "redact": (), "output": None, "as_json": False, **more}
    return await module.show(SETTINGS, Selection(), None, **given)


async def test_no_text_of_a_stranger_moves_the_cursor(letters, capsys):
    letters.append(Letter("d", 0, 0, 0, b"k", b"v", ((EVIL.encode(), EVIL.encode()),), ERROR))
    assert await module.list_letters(SETTINGS, Selection(), None, output=None, as_json=False) == 0
    listed = capsys.readouterr().out
    assert "\\x1b[2J\\nx\\x07" in listed
    assert await show() == 0
    shown = capsys.readouterr().out
    assert "\\x1b[2J\\nx\\x07" in shown.splitlines()[0]
    assert "\x1b" not in listed + shown and "\x07" not in listed + shown
    assert "\nx" not in listed + shown


async def test_a_hint_repeats_the_settings_file(letters, capsys, monkeypatch):
    given = []

    def with_file(text, path):
        given.append(path)
        return text.replace("`farthing dead list`", f"`farthing dead list -c {path}`")

    monkeypatch.setattr(module, "with_file", with_file)
    assert await show(given=Path("my.toml")) == 1
    assert "`farthing dead list -c my.toml` shows" in capsys.readouterr().out
    assert given == [Path("my.toml")]


async def test_a_map_that_cannot_be_read_is_named_once(letters):
    with pytest.raises(ConfigError, match=r"^--map text: expected NEW=OLD"):
        await module.replay(
            SETTINGS, Selection(), None, bundle=None, names=["text"], dry_run=True, per_second=None, as_json=False
        )
