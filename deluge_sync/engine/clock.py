"""Time, handed in so that tests can own it."""

from __future__ import annotations

import time
from typing import Callable

Clock = Callable[[], float]
"""Gives monotonic seconds. A *deadline* is an instant of this clock."""

monotonic: Clock = time.monotonic
