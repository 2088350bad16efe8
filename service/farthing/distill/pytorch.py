"""PyTorch, imported late: it is in the extra ``distill`` only."""

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
