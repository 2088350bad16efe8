"""Splits rows into train, dev and test, so that no event is in two of them and each has both classes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farthing.distill.show import Say
from farthing.distill.texts.recipe import TextRecipe
from farthing.distill.texts.rows import DataFile, Rows, join, read_file, source_files
from farthing.errors import DataError

HELD_OUT = 10  # a split without a file gets one row in ten of train
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Splits:
    """All sources' rows, and the SHA-256 of each source's training file."""

    train: Rows
    dev: Rows
    test: Rows
    sha256: tuple[str, ...]


def read_splits(recipe: TextRecipe, data: Path, say: Say) -> Splits:
    """Read all sources.

    Rows of any test split are removed from dev and train, rows of dev from train, and repeats from both. Events that
    differ only in case, punctuation or a retweet mark count as the same.

    Raises
    ------
    ConfigError, DataError
        As :func:`farthing.distill.texts.rows.read_file`; or an id is in two splits, a split has no rows, or a head's
        labels are all of one class.
    """
    files = [
        {split: read_file(data / name, recipe, k) for split, name in source_files(source).items()}
        for k, source in enumerate(recipe.source)
    ]
    for parts in files:
        _check_ids(parts)
    held: set[str] = set()
    tests = []
    for parts in files:
        rows = parts["test"].rows if "test" in parts else parts["train"].rows.take(_share(parts["train"].rows, 1))
        tests.append(rows)
        held.update(rows.keys)
    trains, devs = [], []
    for source, parts, test in zip(recipe.source, files, tests, strict=True):
        whole = parts["train"].rows
        clean = whole.take(_new(whole, held))
        if "dev" in parts:
            dev = parts["dev"].rows
            dev = dev.take(_new(dev, held))
            train = clean.take(_new(clean, set(dev.keys)))
        else:
            out = _share(clean, 0)
            train, dev = clean.take(~out), clean.take(out)
        say(
            f"{source.name}: train {len(train)}, dev {len(dev)}, test {len(test)}; left out, as repeats or "
            f"as in a test split: {len(whole) - len(clean)}"
        )
        for split, rows in zip(SPLITS, (train, dev, test), strict=True):
            if not len(rows):
                raise DataError(
                    f"{parts.get(split, parts['train']).path}: the {split} split of source {source.name} is empty once "
                    "repeats and rows of other splits are left out; give it rows of its own"
                )
        trains.append(train)
        devs.append(dev)
    splits = Splits(join(trains), join(devs), join(tests), tuple(parts["train"].sha256 for parts in files))
    _check_classes(recipe, splits, files)
    return splits


def truth(rows: Rows, head: int) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Return which rows can be judged on a head, and their labels: gold, or the teachers' mean if no row has gold."""
    gold = rows.gold[:, head]
    judged = ~np.isnan(gold)
    if judged.any() or not rows.given:
        return judged, gold[judged]
    answers = np.stack([values[:, head] for values in rows.given.values()])
    judged = np.asarray(~np.isnan(answers).all(axis=0), np.bool_)
    mean = np.nanmean(answers[:, judged], axis=0) if judged.any() else np.zeros(0)
    return judged, (mean > 0).astype(np.float32)


def _new(rows: Rows, others: set[str]) -> NDArray[np.bool_]:
    """Mark rows whose key is not among ``others`` and has not come before."""
    seen = set(others)
    new = np.zeros(len(rows), np.bool_)
    for k, key in enumerate(rows.keys):
        new[k] = key not in seen
        seen.add(key)
    return new


def _share(rows: Rows, which: int) -> NDArray[np.bool_]:
    """Mark one row in ten by a hash of its key: the same in every run, and equal keys stay together."""
    return np.array([int(hashlib.sha1(k.encode("utf-8", "surrogatepass")).hexdigest(), 16) % HELD_OUT == which
                     for k in rows.keys], np.bool_)  # fmt: skip


def _check_ids(parts: dict[str, DataFile]) -> None:
    seen: dict[str, str] = {}
    for part in parts.values():
        for name, line in part.ids.items():
            if name in seen:
                raise DataError(
                    f"{part.path}:{line}: id {name!r} is in {seen[name]} too, another split; a row in two splits "
                    "makes the evaluation too good: remove it from one, or give different rows different ids"
                )
            seen[name] = f"{part.path}:{line}"


def _check_classes(recipe: TextRecipe, splits: Splits, files: list[dict[str, DataFile]]) -> None:
    for k, head in enumerate(recipe.heads):
        for split in SPLITS:
            rows: Rows = getattr(splits, split)
            judged, labels = truth(rows, k)
            sides = np.unique(labels >= 0.5)
            if len(sides) == 2:
                continue
            places = np.unique(rows.source[judged]) if judged.any() else np.arange(len(files))
            named = ", ".join(str(files[p].get(split, files[p]["train"]).path) for p in places)
            labels_there = f"only labels of class {int(sides[0])}" if len(sides) else "no label and no teacher's answer"
            raise DataError(f"{named}: the {split} split has {labels_there} for head {head}; add rows of both classes")
