"""Labels that are words: understood where they say which of them mean yes, refused with a way out where they do not."""

import json

import pytest

from farthing.errors import DataError
from farthing.evaluate.labels import PAIRS, Labels
from farthing.files import Row


def numbers(values, *, typed=False, **options):
    labels = Labels("label", {}, **options)
    for n, value in enumerate(values, 1):
        labels.add(Row("data", n, n + 1, {"label": value}, typed=typed))
    return labels.numbers()


@pytest.mark.parametrize(("yes", "no"), PAIRS)
def test_pairs_are_understood(yes, no):
    assert numbers([yes, no, yes.upper(), f" {no.title()} "]) == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        (["toxic", "not toxic"], {}, [1, 0]),
        (["non-toxic", "toxic", "toxic"], {}, [0, 1, 1]),
        (["Sexist", "NOT_sexist"], {}, [1, 0]),
        (["billing", "bug", "other", "bug"], {"head": "bug"}, [0, 1, 0, 1]),
        (["OFF", "NOT"], {"positive": ["OFF"]}, [1, 0]),
        (["NOT", "OFF", "NOT"], {"positive": ["not"]}, [1, 0, 1]),
        (["hate", "offensive", "normal"], {"positive": ["hate", "offensive"]}, [1, 1, 0]),
        (["2", "0", "1.0"], {"positive": ["2", "1"]}, [1, 0, 1]),
        (["0", "0.25", "1"], {}, [0, 0.25, 1]),
        (["no", "no"], {}, [0, 0]),
    ],
)
def test_labels(values, options, expected):
    assert numbers(values, **options) == expected


def test_json_has_words_numbers_and_booleans():
    assert numbers(["OFF", "NOT"], typed=True) == [1, 0]
    assert numbers([True, False, 1, 0.5], typed=True) == [1, 0, 1, 0.5]
    assert numbers([True, False, True], typed=True, positive=["false"]) == [0, 1, 0]
    assert numbers([3, 1], typed=True, positive=["3"]) == [1, 0]


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (
            ["a", "b"],
            {},
            'row 1 .*label is "a", expected a number, and its labels "a", "b" do not say .*--positive WORD',
        ),
        (["off", "off"], {}, "do not say which count as yes"),  # of on and off, or of offensive and not
        (["yes", "no", "maybe"], {}, '"maybe"'),
        (["1", "0", "yes"], {}, r'row 3 .*label is "yes", expected a number as in other rows.*--positive'),
        (["OFF", "NOT"], {"positive": ["offensive"]}, 'no row has offensive in label; its labels are "not", "off"'),
        (["yes", ""], {}, "row 2 .*label is null"),
        (["yes", ""], {"positive": ["yes"]}, "row 2 .*label is null"),
    ],
)
def test_what_cannot_be_understood_is_refused(values, options, said):
    with pytest.raises(DataError, match=said):
        numbers(values, **options)


def test_the_command_takes_words(tmp_path, capsys):
    from farthing.__main__ import main

    texts = ["you are a stupid clown", "what a lovely garden", "shut your mouth, idiot", "see you soon"]
    found = {}
    for name, words, flags in (("words", ("OFF", "NOT"), []), ("named", ("rude", "fine"), ["--positive", "rude"])):
        path = tmp_path / name
        path.write_text("text,label\n" + "".join(f'"{t}",{words[k % 2]}\n' for k, t in enumerate(texts)))
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", "moderation", str(path), *flags, "--resamples", "10", "--json"])
        out, err = capsys.readouterr()
        assert not ended.value.code, err
        found[name] = json.loads(out.splitlines()[-1])
    assert found["words"]["metrics"] == found["named"]["metrics"]
    assert found["words"]["positives"] == 2
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "moderation", str(path)])
    assert ended.value.code == 4
    assert "--positive" in capsys.readouterr().err
