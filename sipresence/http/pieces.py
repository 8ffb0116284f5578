"""JSON in pieces: an object too large to be made in one go is made member by member, as it is sent.

An object is an iterator of members, each a name and the pieces of its value. None in place of a member is none: a good
moment to pause, for whoever looks at much of which he writes little.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TypeAlias

from sipresence.objects import Json

Pieces: TypeAlias = Iterator[str]
Members: TypeAlias = Iterator[tuple[str, Pieces] | None]


PAUSE_S = 0.001


async def pause() -> None:
    """Leave the loop to others, after a little work. It is not enough that it turns: the thread that
    commits has to wait for a loop that never rests."""
    await asyncio.sleep(PAUSE_S)


def value(whole: Json) -> Pieces:
    """A value that is small enough for one piece."""
    yield json.dumps(whole)


def object_of(members: Members) -> Pieces:
    """The pieces of an object; "" where there is a pause."""
    yield "{"
    separator = ""
    for member in members:
        if member is None:
            yield ""
            continue
        name, pieces = member
        yield f"{separator}{json.dumps(name)}: "
        yield from pieces
        separator = ", "
    yield "}"


def unless_empty(name: str, members: Members, *, shape: Callable[[Members], Pieces] = object_of) -> Members:
    """The member with this name and these members, or only pauses where there are none."""
    for first in members:
        if first is not None:
            yield name, shape(chain((first,), members))
            return
        yield None
