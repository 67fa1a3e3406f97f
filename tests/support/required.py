"""What a test needs of the machine that it runs on, beside Python."""

import os
from typing import NoReturn

import pytest


def skip_unless_required(reason: str) -> NoReturn:
    """Skip the test for want of something. In CI, where all is installed, it fails instead."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
