"""Where tokens come from: a file or Amazon's signer, here; an endpoint, in :mod:`farthing.kafka.oauth_endpoint`."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from farthing.errors import ConfigError, extra
from farthing.kafka.oauth import Token, TokenError, TokenProvider, checked
from farthing.kafka.oauth_endpoint import EndpointSource
from farthing.process.secrets import read_secret


class FileSource:
    """A file that something else renews, such as a Kubernetes projected token."""

    keeps = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def fetch(self) -> Token:
        """Read the token. Raises TokenError when there is none, or it has expired."""
        setting = "kafka.sasl_oauth_token_file"
        try:
            token = checked(read_secret(self._path, setting).strip(), f"{setting} = {str(self._path)!r}")
        except ConfigError as error:
            raise TokenError(str(error)) from error
        if token.expires_at is not None and token.expires_at <= time.time():
            expired = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(token.expires_at))
            raise TokenError(
                f"{setting} = {str(self._path)!r}: the token has expired at {expired}; renew it, and look at what "
                "should have done so"
            )
        return token


class AwsSource:
    """Amazon MSK's tokens: signed here, with the AWS credentials of the environment (extra ``msk``)."""

    keeps = True

    def __init__(self, region: str) -> None:
        """Raise ConfigError when the signer is not installed."""
        self._region = region
        self._sign = _aws_signer()

    def fetch(self) -> Token:
        """Sign a token. Raises TokenError."""
        try:
            text, expires_at_ms = self._sign(self._region)
        except Exception as error:  # botocore's errors have no common base; none holds a secret key, but may hold hints
            raise TokenError(
                f"kafka.sasl_oauth_aws_region = {self._region!r}: no token could be signed ({type(error).__name__}); "
                "give the process AWS credentials, by a role or in its environment"
            ) from None
        return Token(text, expires_at_ms / 1000)


def _aws_signer() -> Callable[[str], tuple[str, int]]:
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
    except ImportError as error:
        raise ConfigError(
            f"kafka.sasl_oauth_aws_region needs the package aws-msk-iam-sasl-signer-python: {extra('msk')}"
        ) from error
    sign: Callable[[str], tuple[str, int]] = MSKAuthTokenProvider.generate_auth_token
    return sign


@cache
def provider(
    file: Path | None,
    url: str | None,
    client: tuple[str | None, Path | None, str | None, Path | None],
    region: str | None,
) -> TokenProvider:
    """Give the process's provider for these settings. Raises ConfigError."""
    if file is not None:
        return TokenProvider(FileSource(file))
    if region is not None:
        return TokenProvider(AwsSource(region))
    assert url is not None
    return TokenProvider(EndpointSource(url, *client))
