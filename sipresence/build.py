"""Which build this is: the hot modules may be compiled (docs/adr/0004-a-compiled-build.md), and do the same then."""

from importlib.util import find_spec


def build() -> str:
    """Say "compiled" or "pure"; nothing is imported for that."""
    spec = find_spec("sipresence.sip.message")
    return "pure" if spec is None or (spec.origin or "").endswith(".py") else "compiled"
