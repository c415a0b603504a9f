"""Ask every agent its question, and count."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage
from langgraph.errors import GraphRecursionError

from benchmarks.agent_trial.cases import SETS, Case
from benchmarks.agent_trial.tools import FORMATS, TOOLS
from langchain_softprompt import ChatSoftPrompt
from langchain_softprompt.demo import shipped

_STRATEGIES: Mapping[str, Any] = {"tool": ToolStrategy, "provider": ProviderStrategy}
_SAME_TIME = 8


def main() -> None:
    """Run it, and print a line a case and the counts as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agent_trial", description=__doc__)
    parser.add_argument("soft_prompt", type=Path, nargs="?", default=Path(str(shipped("tools"))))
    parser.add_argument("--set", choices=SETS, default="unseen", help="seen: those that soft prompts were chosen by")
    parser.add_argument("--json", type=Path, help="write what was said to a file")
    options = parser.parse_args()
    llm = ChatSoftPrompt(model="embedded", max_tokens=200, temperature=0, soft_prompt=str(options.soft_prompt))
    with ThreadPoolExecutor(_SAME_TIME) as pool:
        found = list(pool.map(lambda case: _tried(llm, case), SETS[options.set]))
    for one in found:
        print(json.dumps(one, ensure_ascii=False))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
    print(json.dumps(counts(found)))


def counts(found: list[dict[str, Any]]) -> dict[str, Any]:
    """How many went right, of all and by kind."""
    kinds = dict.fromkeys(one["kind"] for one in found)
    names = ("right", "calls", "first", "ended", "told", "cut")
    sums = {name: sum(one[name] for one in found) for name in names}
    return {"cases": len(found), **sums, "right by kind": {kind: _of(found, kind) for kind in kinds}}


def _of(found: list[dict[str, Any]], kind: str) -> str:
    those = [one for one in found if one["kind"] == kind]
    return f"{sum(one['right'] for one in those)} of {len(those)}"


def _tried(llm: ChatSoftPrompt, case: Case) -> dict[str, Any]:
    shape = {"response_format": _STRATEGIES[case.strategy](FORMATS[case.format])} if case.strategy else {}
    agent: Any = create_agent(llm, tools=[TOOLS[name] for name in case.tools], **shape)
    said: list[Any] = []
    problem, value = "", None
    try:
        for state in agent.stream({"messages": [("human", case.asked)]}, {"recursion_limit": 12}, stream_mode="values"):
            said, value = state["messages"], state.get("structured_response")
    except GraphRecursionError:
        problem = "goes on"
    except Exception as error:  # noqa: BLE001 - a case that fails is counted, whatever it is.
        problem = f"{type(error).__name__}: {error}"
    answers = [message for message in said if isinstance(message, AIMessage)]
    calls = [(call["name"], call["args"]) for message in answers for call in message.tool_calls if call["name"] in TOOLS]
    last = answers[-1].text if answers else ""
    facts = {
        "first": (calls[:1] == list(case.calls[:1])),
        "calls": _sorted(calls) == _sorted(case.calls),
        "ended": not problem,
        "told": value.model_dump() == case.value if value is not None else not case.strategy and _tells(last, case),
        "cut": any(message.response_metadata.get("finish_reason") == "length" for message in answers),
    }
    right = facts["calls"] and facts["ended"] and facts["told"]
    shown = value.model_dump() if value is not None else last
    return {"kind": case.kind, "asked": case.asked, "right": right, **facts, "made": calls, "answer": shown, "problem": problem}


def _sorted(calls: Any) -> list[str]:
    return sorted(json.dumps(call, sort_keys=True) for call in calls)


def _tells(text: str, case: Case) -> bool:
    return bool(text.strip()) and all(word in text.lower() for word in case.told)


if __name__ == "__main__":
    main()
