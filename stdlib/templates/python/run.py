#!/usr/bin/env python3
"""Greets somebody in the log, and captures whom."""

import sys

from otto_step import Step


def main() -> int:
    step = Step(sys.argv[1])
    name = step.parameters["name"]
    text = f"{step.configuration['greeting']}, {name}!"
    print(text.upper() if step.parameters["loud"] else text)
    step.capture("greeted", name)
    return 0  # 1 is failure, 2 aborted, 3 unstable


if __name__ == "__main__":
    sys.exit(main())
