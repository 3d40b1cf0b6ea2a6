"""From what a method of the client was told to the calls that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .background import BackgroundCall
from .call import Call, Options
from .engine.cancellation import Cancellation
from .engine.clock import monotonic
from .options import CallOptions
from .routes import Routes
from .values.params import SamplingParams
from .values.prompt import Conversation
from .values.request import Request

LONGEST_FETCH = 60.0
"""Seconds for all the files of one prompt that are to be fetched here."""


@dataclass(frozen=True)
class Plan:
    """What all calls of one `map`, or of one `complete`, have in common.

    `fields` are those of the requests beside conversation and parameters.
    """

    routes: Routes
    params: SamplingParams
    asked: CallOptions
    options: Options
    fields: Mapping[str, Any] = field(default_factory=dict)

    def call(self, prompt: Any, *, cancellation: Cancellation, index: int | None = None) -> Call:
        """A call, ready to run: everything that can be wrong with it is found here."""
        tools = bool(self.asked.tools or self.fields.get("extra_body", {}).get("tools"))
        route = self.routes.draw(responses_api=self.asked.responses_api, tools=tools)
        resumed = self.options.resume is not None
        conversation = Conversation() if resumed else Conversation.of(prompt)
        if type(prompt) is not str:
            conversation = conversation.going_over(route.wire)
            if conversation.has_files_to_fetch:
                conversation = self._fetched(conversation, cancellation)
        request = Request(
            conversation,
            self.routes.accepted(self.params, route, strict=self.asked.strict),
            **self.fields,
        )
        kind = BackgroundCall if route.answers_later else Call
        return kind(
            route,
            request,
            prompt=prompt,
            index=index,
            options=self.options,
            cancellation=cancellation,
        )

    def of_round(self, *, first: bool, deadline: float | None) -> Plan:
        """For one call of an agent loop, with its own deadline.

        A tool that the model must ask for is one that it must ask for first: else the loop would
        never end.
        """
        fields = self.fields
        if not first and fields.get("tool_choice") not in (None, "auto", "none"):
            fields = {**fields, "tool_choice": None}
        return replace(self, options=replace(self.options, deadline=deadline), fields=fields)

    def _fetched(self, conversation: Conversation, cancellation: Cancellation) -> Conversation:
        """With the files that we are to fetch; before the call's own time begins."""
        options = self.options
        seconds = min(LONGEST_FETCH, options.timeout or LONGEST_FETCH)
        deadline = monotonic() + seconds
        return self.routes.fetched(
            conversation,
            deadline=min(deadline, options.deadline or deadline),
            cancellation=cancellation,
        )
