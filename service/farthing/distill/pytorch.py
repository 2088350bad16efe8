"""Imports PyTorch when it is needed, because only the extra ``distill`` has it."""

from __future__ import annotations

from typing import Any

from farthing.errors import ConfigError, extra


def import_torch() -> Any:
    """Import PyTorch, or say which extra has it.

    Raises
    ------
    ConfigError
        PyTorch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ConfigError(f"training needs PyTorch: {extra('distill')}") from error
    return torch


def seeded_torch(seed: int, *, threads: int = 1) -> Any:
    """Import PyTorch and make it deterministic: the same seed and threads give the same bits.

    Raises
    ------
    ConfigError
        PyTorch is not installed.
    """
    torch = import_torch()
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    return torch
