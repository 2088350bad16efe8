"""Farthing scores Kafka event streams with small, distilled, int8 models.

``from farthing import Scorer`` gives the scorer in process, with no Kafka. Everything public is listed in
``__all__``; names resolve on first use, so importing ``farthing`` loads neither numba nor a Kafka client.

Importing it sets ``ORT_DISABLE_TELEMETRY=1`` unless the variable is set: ONNX Runtime's own wheels (1.29 and later)
report sessions and models to their maker over the network, and keep an identifier on disk, when it is not.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, when onnxruntime is loaded

if TYPE_CHECKING:
    from farthing.errors import (
        BrokerError,
        BundleError,
        ConfigError,
        CorruptBatchError,
        DecodeError,
        FarthingError,
        UnsupportedBatchError,
    )
    from farthing.model.scorer import Scorer

__version__ = "0.1.0"

__all__ = [
    "BrokerError",
    "BundleError",
    "ConfigError",
    "CorruptBatchError",
    "DecodeError",
    "FarthingError",
    "Scorer",
    "UnsupportedBatchError",
    "__version__",
]


def __getattr__(name: str) -> object:
    wrong = import_module("farthing.process.python").wrong_python() if name in __all__ else None
    if wrong is not None:
        raise ImportError(wrong)
    if name == "Scorer":
        return import_module("farthing.model.scorer").Scorer
    if name in __all__:
        return getattr(import_module("farthing.errors"), name)
    raise AttributeError(f"module 'farthing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
