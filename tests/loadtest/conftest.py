"""Services for the load tests."""

from ..service.conftest import make_service

__all__ = ["make_service"]
