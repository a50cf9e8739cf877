"""Print figures: `python -m tests.bench [startup] [data] [memory] [evaluation] [chat] [training]`, with --rows N and
--data FILE for the last one."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

from tests.bench import chat, data, evaluation, memory, startup, training


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure ModelForge against named rivals, in pairs.")
    parser.add_argument("what", nargs="*", help="startup, data, memory, evaluation, chat, training (default: all)")
    parser.add_argument("--rows", type=int, default=256, help="training rows (default 256)")
    parser.add_argument("--data", type=Path, help="a JSON list of instruction/input/output (default: made up)")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of starts and of files to time (default 5)")
    arguments = parser.parse_args()
    wanted = arguments.what or ["startup", "data", "memory", "evaluation", "chat", "training"]
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    if "startup" in wanted:
        startup.report(arguments.pairs)
    if "data" in wanted:
        data.report(400_000, arguments.pairs)
    if "memory" in wanted:
        memory.report()
    if "evaluation" in wanted:
        evaluation.report(100)
    if "chat" in wanted:
        chat.report(arguments.pairs)
    if "training" in wanted:
        training.report(arguments.rows, arguments.data)


if __name__ == "__main__":
    main()
