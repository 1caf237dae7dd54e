"""Tells systemd how the server does, by the protocol of sd_notify(3)."""

import os
import socket
from collections.abc import Mapping

READY, STOPPING = b"READY=1", b"STOPPING=1"


def notify(state: bytes, environ: Mapping[str, str]) -> None:
    """Sends `state` to the service manager that started this process; does nothing where none did."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        try:
            manager.sendto(state, "\0" + address[1:] if address.startswith("@") else os.fspath(address))
        except OSError:
            return  # It waits no longer; the server serves all the same.
