"""A local teacher: MiniLM, fine-tuned on all sources at once, one head for each meaning of a label.

A text trains the heads it has a label for and no other. Batches hold texts of like length, so little is padding. The
lowest layers stay as they are: they know words, not tasks, and a third of the time is saved.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.distill.pytorch import import_torch
from farthing.distill.teachers.encoder import Int64s, Tokens, load_encoder, tokenize
from farthing.distill.texts.recipe import MiniLMTeacher

Floats = NDArray[np.float32]
Progress = Callable[[int, int, str], None]  # steps done, steps in all, what is being done

POOL = 50  # batches drawn together and sorted by length
WARM_UP = 0.1
CHECKPOINT_STEPS = 50


def fine_tune(
    texts: Sequence[str], gold: Floats, settings: MiniLMTeacher, *, seed: int, threads: int, checkpoint: Path,
    progress: Progress,
) -> Any:  # fmt: skip
    """Fine-tune the encoder, or go on from ``checkpoint``, which is written as it goes.

    Parameters
    ----------
    texts:
        n texts.
    gold:
        float32 (n, n_heads): shares or 0/1; NaN where a text has no label for a head.
    settings, seed, threads:
        How, deterministically for one number of threads.
    checkpoint:
        File of the state; must belong to the same data and settings.
    progress:
        Called after each step.

    Returns
    -------
    The trained network.
    """
    torch = import_torch()
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    network = load_encoder(gold.shape[1], settings.dropout)
    network.bert.embeddings.requires_grad_(False)
    for layer in network.bert.encoder.layer[: settings.frozen_layers]:
        layer.requires_grad_(False)
    tokens = tokenize(texts, settings.max_tokens)
    batches = [b for e in range(settings.epochs) for b in _batches(tokens, settings.batch, seed + e)]
    last = max(round(settings.stop_after * len(batches)), 1)
    weights = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.01)

    def rate(step: int) -> float:
        warm = max(WARM_UP * len(batches), 1)
        return min((step + 1) / warm, max(len(batches) - step, 0) / max(len(batches) - warm, 1))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    done = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["rng"])
        done = state["done"]
    known = torch.from_numpy(~np.isnan(gold))
    target = torch.from_numpy(np.nan_to_num(gold))
    network.train()
    smooth = 0.0
    for step in range(done, last):
        rows = batches[step]
        logits = network(torch.from_numpy(tokens.padded(rows)))
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, target[rows], reduction="none")
        loss = losses[known[rows]].mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        smooth = loss.item() if step == done else 0.98 * smooth + 0.02 * loss.item()
        progress(step + 1, last, f"minilm: loss {smooth:.4f}")
        if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == last:
            state = {
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "rng": torch.get_rng_state(),
                "done": step + 1,
            }
            partial = checkpoint.with_suffix(".part")
            torch.save(state, partial)
            os.replace(partial, checkpoint)
    return network


def predict(network: Any, texts: Sequence[str], max_tokens: int, *, threads: int, progress: Progress) -> Floats:
    """Give the logits of texts, float32 (n, n_heads)."""
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
    """Shuffle, sort within pools by length, cut into batches, shuffle the batches."""
    rng = np.random.default_rng(seed)
    lengths = np.diff(tokens.indptr)
    order = rng.permutation(len(tokens))
    batches = []
    for start in range(0, len(order), size * POOL):
        pool = order[start : start + size * POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[k : k + size] for k in range(0, len(pool), size)]
    return [batches[k] for k in rng.permutation(len(batches))]
