"""Python code that runs in a process of its own."""

import os
import subprocess
import sys
import textwrap


def in_fresh_process(code: str, *arguments, **environment) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)
