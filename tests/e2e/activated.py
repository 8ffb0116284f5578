"""`sipresence` as systemd would start it: with sockets that are open already.

    python -m tests.e2e.activated NAMES DESCRIPTORS serve --config FILE

NAMES are separated by colons, DESCRIPTORS by commas; the process moves these to 3, 4, … and becomes the server.
"""

import os
import sys

FIRST = 3
OUT_OF_THE_WAY = 200


def main() -> None:
    names, descriptors = sys.argv[1:3]
    moved = [
        os.dup2(int(descriptor), OUT_OF_THE_WAY + index) for index, descriptor in enumerate(descriptors.split(","))
    ]
    for index, descriptor in enumerate(moved):
        os.dup2(descriptor, FIRST + index)
        os.close(descriptor)
    environment = {
        **os.environ,
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": str(len(moved)),
        "LISTEN_FDNAMES": names,
    }
    os.execve(sys.executable, [sys.executable, "-m", "sipresence", *sys.argv[3:]], environment)


if __name__ == "__main__":
    main()
