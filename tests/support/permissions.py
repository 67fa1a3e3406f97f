"""File permissions do not count for root, who often runs the tests."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

VERSION = 0x2008_0522  # of the system call's structures
OVERRIDES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@contextmanager
def file_modes_count() -> Iterator[None]:
    """Let file modes count for this thread, and those that it starts, if root runs the tests.

    Root keeps its files, unlike another user, who could not reach a test's directory.
    """
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(VERSION, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    effective = sets[0]
    sets[0] = effective & ~OVERRIDES
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = effective
        assert libc.capset(header, sets) == 0
