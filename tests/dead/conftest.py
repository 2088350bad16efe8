"""Services whose dead letters are looked at."""

from tests.serving.conftest import make_service

__all__ = ["make_service"]
