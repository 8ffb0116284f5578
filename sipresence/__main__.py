"""`python -m sipresence` is the command `sipresence`."""

from sipresence.cli import main

main(prog_name="sipresence")
