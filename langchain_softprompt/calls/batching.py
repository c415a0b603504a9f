"""Batches reach the engine all at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list

from langchain_softprompt.calls.leaving import batch_of_this_thread
from langchain_softprompt.calls.naming import Named
from langchain_softprompt.settings import EngineLimits


class Batching(Named):
    """Batches: LangChain's own, item by item with callbacks and config, but with enough items under way.

    LangChain's thread pool has a few workers for each CPU core, where the engine has room for many more rows. A
    ``max_concurrency`` in the config is kept to. A completion model's batch goes item by item as well, so that one item
    that fails does not fail the others.
    """

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Answer all inputs, in their order."""
        # Twice the rows: while one batch of rows decodes, the next requests already wait in the engine.
        configs = _with_concurrency(config, len(inputs), 2 * self._limits().max_rows)
        with batch_of_this_thread():
            return Runnable.batch(cast("Any", self), inputs, configs, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """The same in an event loop."""
        # No threads wait here, so only the engine's queue is a bound.
        configs = _with_concurrency(config, len(inputs), self._limits().max_queue)
        return await Runnable.abatch(cast("Any", self), inputs, configs, return_exceptions=return_exceptions, **kwargs)

    if not TYPE_CHECKING:  # type checkers keep LangChain's overloads

        def batch_as_completed(self, inputs: Sequence[Any], config: Any = None, **kwargs: Any) -> Any:
            """Like `batch`, in order of completion."""
            configs = _with_concurrency(config, len(inputs), 2 * self._limits().max_rows)
            return Runnable.batch_as_completed(self, inputs, configs, **kwargs)

        def abatch_as_completed(self, inputs: Sequence[Any], config: Any = None, **kwargs: Any) -> Any:
            """Like `abatch`, in order of completion."""
            configs = _with_concurrency(config, len(inputs), self._limits().max_queue)
            return Runnable.abatch_as_completed(self, inputs, configs, **kwargs)

    def _limits(self) -> EngineLimits:
        limits = getattr(self.engine, "limits", None) or self.engine_limits
        return limits if isinstance(limits, EngineLimits) else EngineLimits()


def _with_concurrency(config: RunnableConfig | Sequence[RunnableConfig] | None, items: int, most: int) -> list[RunnableConfig]:
    configs = get_config_list(config, items)
    if configs and configs[0].get("max_concurrency") is None:
        configs[0] = {**configs[0], "max_concurrency": min(items, most)}  # LangChain reads the first item's
    return configs
