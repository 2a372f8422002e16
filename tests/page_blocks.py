"""The `python` blocks of the documentation's pages: run in order, a page at a time, their output compared or written.

python tests/page_blocks.py        # writes what the blocks print today below them
"""

import contextlib
import io
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [
    REPOSITORY / "docs/index.md",
    REPOSITORY / "docs/pipeline.md",
    *sorted((REPOSITORY / "docs/howto").glob("*.md")),
]
SHOWN = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```\n(?P<output>.*?)```\n)?", re.DOTALL | re.MULTILINE)


def as_it_runs(page: Path) -> str:
    """The text of a page with the output that its blocks have today; they run from the repository's root."""
    names: dict[str, object] = {"__name__": "__main__"}

    def run(block: re.Match[str]) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block["code"], f"{page.name}", "exec"), names)
        output = printed.getvalue()
        return f"```python\n{block['code']}```\n" + (f"\n```\n{output}```\n" if output else "")

    with contextlib.chdir(REPOSITORY) if hasattr(contextlib, "chdir") else contextlib.nullcontext():
        return SHOWN.sub(run, page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(as_it_runs(path), encoding="utf-8")
