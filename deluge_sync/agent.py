"""The agent loop: ask the model, run the tools it asks for, tell it what they gave, ask again."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, Optional, Protocol, Union

from .engine.cancellation import Cancellation
from .engine.clock import Clock, monotonic
from .engine.daemons import Stragglers
from .options import CALL_OPTIONS, unknown
from .settings import check_seconds
from .tool_runs import Job, Task, ToolRuns, capped, failed, told
from .values.errors import ConfigError, DeadlineExceededError, DelugeError, OutputError, PromptError
from .values.params import SAMPLING_FIELDS
from .values.prompt import Conversation, ToolCall, ToolResult
from .values.response import PAUSED, Response, Usage
from .values.tool import Tool, ToolLike, name_in

logger = logging.getLogger(__name__)

CUT = "length"
"""Calls of an answer that was cut off may lack the end of their arguments."""

LoopResult = tuple[Conversation, Response]
Confirm = Callable[[ToolCall], Union[bool, str]]
Computer = Callable[[ToolCall], Any]


@dataclass(frozen=True)
class AgentRound:
    """What `on_round` is told after each call of the model, failed ones and the last included.
    Where the call or the loop failed then, `response` has the error.

    `number` counts from 1; `results` are what the tools gave that `response` asked for, `()` where
    none was run. `cost` (US dollars, as far as prices are known) and `usage` are those of the whole
    loop so far, without what the cache gave. `index` is the conversation's position in its
    `map_agent_loops`.
    """

    number: int
    response: Response
    results: tuple[ToolResult, ...]
    cost: float
    usage: Usage
    conversation: Conversation
    index: int | None = None


@dataclass(frozen=True)
class LoopRules:
    """How a loop goes on; see `Client.run_agent_loop` for each."""

    max_rounds: int = 5
    tool_timeout: float = 60.0
    max_tool_output: int = 50_000
    confirm: Optional[Confirm] = None
    on_round: Optional[Callable[[AgentRound], object]] = None
    computer: Optional[Computer] = None

    def __post_init__(self) -> None:
        for name in ("max_rounds", "max_tool_output"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ConfigError(f"{name} must be a whole number of at least 1, not {value!r}")
        if self.tool_timeout is None:
            raise ConfigError("tool_timeout must be a positive number of seconds, not None")
        check_seconds("tool_timeout", self.tool_timeout)
        for name in ("confirm", "on_round", "computer"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise ConfigError(f"{name} must be a function, not {value!r:.80}")


RULES = frozenset(item.name for item in dataclasses.fields(LoopRules))


def ruled(options: Mapping[str, Any]) -> tuple[LoopRules, dict[str, Any]]:
    """The rules among a loop's options, and the options of its calls."""
    for name in options:
        if name not in RULES | CALL_OPTIONS | SAMPLING_FIELDS:
            raise unknown(name, RULES)
    rules = {name: value for name, value in options.items() if name in RULES}
    return LoopRules(**rules), {name: options[name] for name in options if name not in RULES}


class Toolbox:
    """What a model may have run here.

    `declared` are names of tools that the developer answers for: a `Tool` without `run`, and the
    vendor's own that it does not run itself.
    """

    def __init__(self, tools: Iterable[ToolLike], rules: LoopRules) -> None:
        given = tuple(tools)
        own = [tool for tool in given if isinstance(tool, Tool)]
        self.runnable = {tool.name: tool for tool in own if tool.run is not None}
        self.declared = {tool.name for tool in own if tool.run is None}
        self.declared.update(name_in(tool) for tool in given if isinstance(tool, Mapping))
        self.declared.discard("")
        self._rules = rules

    def has_answers_to(self, calls: Iterable[ToolCall]) -> bool:
        """Whether each call is ours to answer: none of them is the caller's."""
        return not any(self._is_the_callers(call) for call in calls)

    def job(self, call: ToolCall) -> Job:
        """What is to be done for `call`, or why it cannot be."""
        rules = self._rules
        if call.kind == "computer" and rules.computer is not None:
            task = Task(call, partial(rules.computer, call), rules.tool_timeout)
            return self._confirmed(task)
        tool = self.runnable.get(call.name)
        if tool is None or tool.run is None:
            names = ", ".join(sorted(self.runnable)) or "none"
            logger.warning("the model asked for a tool that is not there: %.100r", call.name)
            return failed(call, f"there is no tool {call.name[:100]!r}; there are: {names}")
        try:
            arguments = tool.arguments_of(call)
        except OutputError as error:
            logger.warning("tool %s not run: %s", call.name, error.message)
            return failed(call, error.message)
        except Exception as error:  # from what makes the function's own types
            logger.warning("tool %s not run", call.name, exc_info=True)
            return failed(call, f"the arguments of {call.name} do not fit: {told(error)}")
        seconds = rules.tool_timeout if tool.timeout is None else tool.timeout
        return self._confirmed(Task(call, partial(tool.run, **arguments), seconds))

    def _confirmed(self, task: Task) -> Job:
        confirm = self._rules.confirm
        if confirm is None:
            return task
        verdict = confirm(task.call)
        if verdict is True:
            return task
        logger.info("tool %s was refused", task.call.name)
        reason = verdict if isinstance(verdict, str) and verdict else "this call was not allowed"
        return failed(task.call, reason)

    def _is_the_callers(self, call: ToolCall) -> bool:
        if call.kind == "computer":
            return self._rules.computer is None
        if call.name in self.runnable:
            return False
        return call.kind is not None or call.name in self.declared


def without_pictures(conversation: Conversation) -> Conversation:
    """`conversation` with words in place of the pictures that functions gave in its last turn."""
    if not conversation.messages:
        return conversation
    *before, last = conversation.messages
    parts = tuple(
        _in_words(part) if isinstance(part, ToolResult) and part.images and not part.kind else part
        for part in last.parts
    )
    told = dataclasses.replace(last, parts=parts)
    return dataclasses.replace(conversation, messages=(*before, told))


def _in_words(result: ToolResult) -> ToolResult:
    remark = f"[pictures left out: {len(result.images)}; this model cannot be shown any]"
    return dataclasses.replace(result, content=f"{result.content}\n{remark}".strip(), images=())


class Ask(Protocol):
    """What has the model answer; a failed call is a response, too."""

    def __call__(
        self,
        conversation: Conversation,
        *,
        first: bool,
        deadline: float | None,
        cancellation: Cancellation,
        index: int | None,
    ) -> Response:
        """`first` says that it is the loop's first call, `deadline` that of the loop."""


@dataclass(frozen=True)
class AgentLoops:
    """What all loops of one `map_agent_loops`, or of one `run_agent_loop`, have in common."""

    ask: Ask
    rules: LoopRules
    toolbox: Toolbox
    stragglers: Stragglers
    clock: Clock = field(default=monotonic)

    def loop(
        self,
        conversation: Conversation,
        *,
        cancellation: Cancellation,
        timeout: float | None = None,
        deadline: float | None = None,
        index: int | None = None,
    ) -> AgentLoop:
        """One loop, which has until `deadline`, or `timeout` seconds from its start on."""
        return AgentLoop(self, conversation, cancellation, timeout, deadline, index)


class AgentLoop:
    """One conversation on its way. `conversation` is always one that can be sent: a model's turn
    comes into it together with the results that it asked for, or with the end of the loop.
    """

    def __init__(
        self,
        loops: AgentLoops,
        conversation: Conversation,
        cancellation: Cancellation,
        timeout: float | None,
        deadline: float | None,
        index: int | None,
    ) -> None:
        self.conversation = conversation
        self.index = index
        self._loops = loops
        self._cancellation = cancellation
        self._timeout = timeout
        self._deadline = deadline
        self._cost = 0.0
        self._usage = Usage()

    def run(self) -> LoopResult:
        """The conversation with its last answer, and that answer; raises as `complete` does, with
        the `conversation` as far as it came on the error.
        """
        if self._timeout is not None:
            self._deadline = self._loops.clock() + self._timeout
        try:
            response = self._last_response()
        except DelugeError as error:
            error.conversation = self.conversation
            raise
        return self.conversation, response

    def expired(self) -> DeadlineExceededError:
        """What to raise where its time was up before it began."""
        error = DeadlineExceededError("the agent loop's time was up before a thread was free")
        error.conversation = self.conversation
        return error

    def _last_response(self) -> Response:
        last = self._loops.rules.max_rounds
        for number in range(1, last):
            response = self._asked(number)
            if not self._goes_on(response):
                return self._ended(number, response)
            results = self._results(number, response)
            self.conversation = self.conversation.with_response(response)
            if results:
                self.conversation = self.conversation.with_tool_results(*results)
            self._tell(number, response, results)
        return self._ended(last, self._asked(last))

    def _asked(self, number: int) -> Response:
        self._cancellation.check()
        try:
            response = self._answer(number)
        except PromptError as error:
            # The tools have run: a picture that they gave is no reason to lose all that they did.
            told = without_pictures(self.conversation)
            if told == self.conversation:
                raise
            logger.warning("pictures of tools are left out: %s", error.message)
            self.conversation = told
            response = self._answer(number)
        self._cost += response.cost or 0.0
        if response.usage is not None and not response.cached:
            self._usage = self._usage.plus(response.usage)
        if response.error is not None:
            self._tell(number, response)
        return response.raise_for_error()

    def _answer(self, number: int) -> Response:
        return self._loops.ask(
            self.conversation,
            first=number == 1,
            deadline=self._deadline,
            cancellation=self._cancellation,
            index=self.index,
        )

    def _goes_on(self, response: Response) -> bool:
        if not response.tool_calls:
            return response.finish_reason == PAUSED
        if response.finish_reason == CUT:
            return False
        return self._loops.toolbox.has_answers_to(response.tool_calls)

    def _ended(self, number: int, response: Response) -> Response:
        self.conversation = self.conversation.with_response(response)
        self._tell(number, response)
        return response

    def _tell(self, number: int, response: Response, results: tuple[ToolResult, ...] = ()) -> None:
        on_round = self._loops.rules.on_round
        if on_round is not None:
            on_round(
                AgentRound(
                    number,
                    response,
                    results,
                    self._cost,
                    self._usage,
                    self.conversation,
                    self.index,
                )
            )

    def _results(self, number: int, response: Response) -> tuple[ToolResult, ...]:
        """What the tools gave, in the order of the calls: functions first and at the same time,
        then a computer's actions one by one.
        """
        calls, prepare = response.tool_calls, self._loops.toolbox.job
        actions = [at for at, call in enumerate(calls) if call.kind == "computer"]
        functions = [at for at, call in enumerate(calls) if call.kind != "computer"]
        try:
            runs = self._runs()
            given = runs.together([prepare(calls[at]) for at in functions])
            done = runs.in_turn([calls[at] for at in actions], prepare)
            given += self._pictured(runs, [calls[at] for at in actions], done)
        except DelugeError as error:
            error.response = response.replace(error=error)
            self._tell(number, error.response)
            raise
        most = self._loops.rules.max_tool_output
        by_place = sorted(zip(functions + actions, given), key=lambda pair: pair[0])
        return tuple(capped(result, most) for _, result in by_place)

    def _pictured(
        self, runs: ToolRuns, calls: list[ToolCall], results: list[ToolResult]
    ) -> list[ToolResult]:
        """The results of a computer's calls, those that came to nothing with the screen as it is
        where the vendor wants to see it (see `Computer.refuse`).
        """
        rules = self._loops.rules
        refuse = getattr(rules.computer, "refuse", None)
        if refuse is None:
            return results
        bare = [at for at, result in enumerate(results) if result.is_error and not result.images]
        works = [partial(refuse, calls[at], results[at].content) for at in bare]
        tasks = [Task(calls[at], work, rules.tool_timeout) for at, work in zip(bare, works)]
        again = dict(zip(bare, runs.together(tasks)))
        return [again.get(at, result) for at, result in enumerate(results)]

    def _runs(self) -> ToolRuns:
        return ToolRuns(
            deadline=math.inf if self._deadline is None else self._deadline,
            cancellation=self._cancellation,
            stragglers=self._loops.stragglers,
            clock=self._loops.clock,
        )
