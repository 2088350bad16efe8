"""The local teacher of rankings: MiniLM as a bi-encoder, and its vocabulary."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farthing.distill.pytorch import import_torch
from farthing.distill.show import Say
from farthing.distill.teachers.encoder import load_bert, mean_states, model_folder, tokenize
from farthing.features.lexicon import CONTINUES

_BATCH = 64

Floats = NDArray[np.float32]


class BiEncoder:
    """Turns texts into unit vectors: means of MiniLM's last states. ``cache`` is a folder that keeps them, or None."""

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache
        self._bert = load_bert(dropout=0.0).eval()

    def __call__(self, texts: Sequence[str], max_tokens: int, say: Say) -> Floats:
        """Return float32 (n, 384), each row of length one, rounded to half precision (as the cache keeps it)."""
        if self._cache is None:
            return self._encode(texts, max_tokens, say).astype(np.float16).astype(np.float32)
        key = hashlib.sha256(json.dumps([max_tokens, *texts]).encode()).hexdigest()[:24]
        file = self._cache / f"minilm-{key}.npy"
        if not file.exists():
            self._cache.mkdir(parents=True, exist_ok=True)
            np.save(file, self._encode(texts, max_tokens, say).astype(np.float16))
        vectors: Floats = np.load(file).astype(np.float32)
        return vectors

    def _encode(self, texts: Sequence[str], max_tokens: int, say: Say) -> Floats:
        torch = import_torch()
        torch.set_num_threads(1)
        tokens = tokenize(texts, max_tokens)
        order = np.argsort(np.diff(tokens.indptr), kind="stable")
        out = np.empty((len(tokens), self._bert.config.hidden_size), np.float32)
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            with torch.inference_mode():
                means = mean_states(self._bert, torch.from_numpy(tokens.padded(rows)))
                out[rows] = torch.nn.functional.normalize(means, dim=1).numpy()
            if start % (_BATCH * 64) == 0:
                say(f"teacher: {start:,} of {len(order):,} texts")
        return out


def vocabulary() -> list[bytes]:
    """Return the whole words in MiniLM's vocabulary, in its order: those of two or more ASCII letters and digits."""
    return [piece.encode() for piece in _pieces() if len(piece) > 1]


def letters() -> list[bytes]:
    """Return the single ASCII letters and digits in MiniLM's vocabulary, with which an unknown word may begin."""
    return [piece.encode() for piece in _pieces() if len(piece) == 1]


def continuations() -> list[bytes]:
    """Return the continuations in MiniLM's vocabulary, in its order and spelling (``##ing``)."""
    return [CONTINUES + piece.encode() for piece in _pieces(CONTINUES.decode())]


def _pieces(prefix: str = "") -> list[str]:
    lines = (model_folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    pieces = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
    return [piece for piece in pieces if piece.isascii() and piece.isalnum()]
