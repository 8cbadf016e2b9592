"""The id of a request: the client's own, or a new one."""

import itertools
import os
import re
import uuid

_SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")

_ids = itertools.count(uuid.uuid4().int)


def _count_from_another() -> None:
    global _ids
    _ids = itertools.count(uuid.uuid4().int)


# Workers are forked from one process, and would all count on from its number.
os.register_at_fork(after_in_child=_count_from_another)


def request_id(given: bytes) -> bytes:
    """The client's id if it is short and plain enough for a header and a log line, else a new one.

    New ones count on from a random number: 32 hexadecimal digits that no other process has.
    """
    if given and _SANE_ID.fullmatch(given):
        return given
    return b"%032x" % (next(_ids) % 2**128)
