"""When a vendor switches a model off."""

from __future__ import annotations

from datetime import date, timedelta

from ..values.model import Model

NOTICE = timedelta(days=30)
"""How long before its day a model is spoken of."""


def retirement_notice(model: Model, today: date) -> str | None:
    """One sentence about a model that is switched off or will be within 30 days, else None."""
    if model.retires is None:
        return None
    day = date.fromisoformat(model.retires)
    if today + NOTICE < day:
        return None
    when = "was" if day <= today else "will be"
    advice = f"; use {model.successor} instead" if model.successor else ""
    return f"{model.name} {when} switched off by its vendor on {model.retires}{advice}"
