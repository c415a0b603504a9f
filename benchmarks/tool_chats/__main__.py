"""Write chats to a file, one a line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.tool_chats.scenes import make_chats


def main() -> None:
    """Make them and write them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tool_chats", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--crowded", action="store_true", help="tools stand among one to three others")
    parser.add_argument("--ending", action="store_true", help="so, too, and once a tool has answered no other is called")
    options = parser.parse_args()
    options.file.parent.mkdir(parents=True, exist_ok=True)
    chats = make_chats(options.count, options.seed, crowded=options.crowded, ending=options.ending)
    lines = [json.dumps(chat, ensure_ascii=False) for chat in chats]
    options.file.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
