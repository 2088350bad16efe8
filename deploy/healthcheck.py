"""The image's health check: exits 0 when this container's own probe responds with 200.

``healthcheck PATH [PORT]``. Host and port are those that the service listens on: FARTHING_HTTP__HOST and
FARTHING_HTTP__PORT, or the defaults. If it listens on all addresses, loopback is used. If the port has a certificate
(FARTHING_HTTP__TLS_CERTFILE, or FARTHING_LEDGER__TLS_CERTFILE where PORT is given), it is asked over TLS; the
certificate is this container's own and for another name, so it is not checked.
"""

import http.client
import os
import ssl
import sys

TIMEOUT_S = 3.0
LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def main(arguments: list[str]) -> int:
    """Return 0 when the probe responds with 200; else write its response to standard error and return 1."""
    if not 1 <= len(arguments) <= 2:
        sys.stderr.write("usage: healthcheck PATH [PORT]\n")
        return 2
    host = os.environ.get("FARTHING_HTTP__HOST", "")
    port = arguments[1] if len(arguments) == 2 else os.environ.get("FARTHING_HTTP__PORT", "9464")
    section = "LEDGER" if len(arguments) == 2 else "HTTP"
    address = LOOPBACK.get(host, host), int(port)
    if os.environ.get(f"FARTHING_{section}__TLS_CERTFILE"):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(*address, timeout=TIMEOUT_S, context=context)
    else:
        connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)
    try:
        connection.request("GET", arguments[0])
        answer = connection.getresponse()
        body = answer.read(1_000).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"{arguments[0]}: no answer ({error})\n")
        return 1
    finally:
        connection.close()
    if answer.status != 200:
        sys.stderr.write(f"{arguments[0]}: {answer.status} {body}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
