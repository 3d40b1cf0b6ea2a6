"""The vendors' batch APIs as pages of the sandbox: which request is for which.

Requests of this kind draw nothing from the limits.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from .anthropic_batches import anthropic_page
from .batches import BatchStore
from .gemini_batches import gemini_begin, gemini_page
from .http import Answer
from .mistral_batches import mistral_page
from .openai_batches import openai_page
from .pages import Download, Visit

_OPENAI = re.compile(r"/v1/batches(?:/([^/]+)(?:/(cancel))?)?")
_MISTRAL = re.compile(r"/v1/batch/jobs(?:/([^/]+)(?:/(cancel))?)?")
_ANTHROPIC = re.compile(r"/v1/messages/batches(?:/([^/]+)(?:/(cancel|results))?)?")
_GEMINI = re.compile(r"/(?:v1|v1beta)/batches(?:/([^/:]+)(?::(cancel))?)?")
_GEMINI_BEGIN = re.compile(r"/(?:v1|v1beta)/models/([^:]+):batchGenerateContent")


def is_batch_path(wire: str, path: str) -> bool:
    """Whether `path` is one of a page here."""
    if wire == "gemini":
        return bool(_GEMINI.fullmatch(path) or _GEMINI_BEGIN.fullmatch(path))
    if wire == "anthropic":
        return bool(_ANTHROPIC.fullmatch(path))
    return wire == "openai" and bool(_OPENAI.fullmatch(path) or _MISTRAL.fullmatch(path))


def batch_page(visit: Visit, batches: BatchStore) -> Answer | Download:
    """The answer to a request for such a page. Raises `VendorError`."""
    path = visit.path
    if visit.wire == "gemini":
        begin = _GEMINI_BEGIN.fullmatch(path)
        if begin is not None:
            return gemini_begin(visit, batches, unquote(begin[1]))
        return gemini_page(visit, batches, *_parts(_GEMINI, path))
    if visit.wire == "anthropic":
        return anthropic_page(visit, batches, *_parts(_ANTHROPIC, path))
    if _MISTRAL.fullmatch(path):
        return mistral_page(visit, batches, *_parts(_MISTRAL, path))
    return openai_page(visit, batches, *_parts(_OPENAI, path))


def _parts(pattern: re.Pattern[str], path: str) -> tuple[str, str]:
    match = pattern.fullmatch(path)
    assert match is not None
    return match[1] or "", match[2] or ""
