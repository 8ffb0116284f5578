"""`sipresence` with a window: the product, and beside it a thread that counts what lives in the process.

    python -m tests.e2e.watched SOCKET serve --config FILE

Whoever connects to the Unix socket gets the census, as JSON: how many objects there are of each type, by its name. The
garbage collector runs before, so that what is counted is what something still holds.
"""

import gc
import json
import socket
import sys
import threading
from collections import Counter
from pathlib import Path

from sipresence.cli import main


def take_census(window: Path) -> Counter[str]:
    """Ask a server that was started with this window."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(window))
        return Counter(json.load(sock.makefile("rb")))


def _count() -> dict[str, int]:
    gc.collect()
    return Counter(type(thing).__name__ for thing in gc.get_objects())


def _serve(window: socket.socket) -> None:
    while True:
        asker, _ = window.accept()
        with asker:
            asker.sendall(json.dumps(_count()).encode())


if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv.pop(1))
        listener.listen()
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        main(prog_name="sipresence")
