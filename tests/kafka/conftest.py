"""Services for the tests that look at the client from inside a running loop."""

from tests.serving.conftest import make_service

__all__ = ["make_service"]
