"""From what a method of the client was told to the calls that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .background import BackgroundCall
from .call import AnyCall, Call, CallRoute, Options, Switch
from .engine.cancellation import Cancellation
from .engine.clock import monotonic
from .failover import Failover
from .options import CallOptions
from .routes import Routes
from .values.media import Audio, File, Image
from .values.params import SamplingParams
from .values.prompt import Conversation
from .values.request import Request
from .values.tool import ComputerTool

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

    def route(self) -> CallRoute:
        """The one that all calls take, where the client has one model."""
        return self.routes.draw(responses_api=self.asked.responses_api, tools=self._offers_tools)

    @property
    def _offers_tools(self) -> bool:
        return bool(self.asked.tools or self.fields.get("extra_body", {}).get("tools"))

    def call(self, prompt: Any, *, cancellation: Cancellation, index: int | None = None) -> AnyCall:
        """A call, ready to run: everything that can be wrong with it is found here."""
        if self.routes.are_several:
            return self._failover(prompt, cancellation, index, tools=self._offers_tools)
        route = self.route()
        resumed = self.options.resume is not None
        conversation = Conversation() if resumed else Conversation.of(prompt)
        if type(prompt) is not str:
            conversation = conversation.going_over(route.wire, route.model.name)
            if conversation.has_files_to_fetch:
                conversation = self._fetched(conversation, cancellation)
        return self._to(route, conversation, prompt, cancellation, index)

    def _to(
        self,
        route: CallRoute,
        conversation: Conversation,
        prompt: Any,
        cancellation: Cancellation,
        index: int | None,
        switch: Switch | None = None,
    ) -> Call:
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
            switch=switch,
        )

    def of_round(self, *, first: bool, deadline: float | None) -> Plan:
        """For one call of an agent loop, with its own deadline.

        A tool that the model must ask for is one that it must ask for first: else the loop would
        never end. Later rounds stay with the model that asked for the tools where it is up: what
        it thought, and what its provider keeps of the prompt, is of no use to others.
        """
        options = replace(self.options, deadline=deadline)
        if first:
            return replace(self, options=options)
        fields, asked = self.fields, self.asked
        if fields.get("tool_choice") not in (None, "auto", "none"):
            fields = {**fields, "tool_choice": None}
        if self.routes.are_several and asked.prefer_model is None:
            asked = replace(asked, prefer_model="last")
        return replace(self, options=options, fields=fields, asked=asked)

    def _failover(
        self, prompt: Any, cancellation: Cancellation, index: int | None, *, tools: bool
    ) -> Failover:
        """A call that any of the client's models may answer."""
        resumed = self.options.resume is not None
        conversation = Conversation() if resumed else Conversation.of(prompt)
        if conversation.has_files_to_fetch:
            conversation = self._fetched(conversation, cancellation)
        preferred = self.routes.preferred(self.asked.prefer_model, conversation.model)
        routes, lacking = self.routes.in_order(
            preferred, responses_api=self.asked.responses_api, tools=tools
        )

        def make(route: CallRoute, switch: Switch) -> Call:
            going = conversation.going_over(route.wire, route.model.name)
            return self._to(route, going, prompt, cancellation, index, switch)

        return Failover(
            routes,
            make,
            dynamic=self.routes.are_dynamic,
            preferred=preferred is not None,
            cached=self.routes.answers is not None and self.options.use_cache,
            by_id=resumed or self._names_what_is_kept(conversation),  # one of them began it
            lacking=lacking,
            nobody=lambda lacking: self.routes.nobody(lacking, self._needs(conversation, tools)),
        )

    def _names_what_is_kept(self, conversation: Conversation) -> bool:
        """Whether the prompt names what one account has, which others will not find."""
        return self.asked.previous_response_id is not None or any(
            isinstance(part, (Image, Audio, File)) and part.file_id
            for message in conversation.messages
            for part in message.parts
        )

    def _needs(self, conversation: Conversation, tools: bool) -> list[str]:
        """The words of `Model.supports` that a model needs for this call."""
        parts = [part for message in conversation.messages for part in message.parts]
        output = self.fields.get("output")
        pdf = any(isinstance(p, File) and p.media_type == "application/pdf" for p in parts)
        needs = {
            "tools": tools,
            "computer_use": any(isinstance(tool, ComputerTool) for tool in self.asked.tools),
            "forced_tool_choice": self.fields.get("tool_choice") not in (None, "auto", "none"),
            "json_schema": output is not None and output.schema is not None,
            "vision": any(isinstance(part, Image) for part in parts),
            "audio_in": any(isinstance(part, Audio) for part in parts),
            "pdf": pdf,
            "prompt_caching": self.fields.get("prompt_cache") is not None,
        }
        return [word for word, needed in needs.items() if needed]

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
