"""Services for the load tests."""

from ..serving.conftest import make_service

__all__ = ["make_service"]
