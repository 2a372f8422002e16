"""The examples of docs/howto/tools.md that need another tool, where it is installed."""

import contextlib
import io
import re

import pytest

TOOLS = {"nnsight": "nnsight", "TransformerLens": "transformer_lens"}


@pytest.mark.parametrize("tool", TOOLS)
def test_the_states_of_other_tools_are_ours(tool, repository, monkeypatch):
    pytest.importorskip(TOOLS[tool], reason=f"{tool} is for an environment of its own")
    page = (repository / "docs" / "howto" / "tools.md").read_text(encoding="utf-8")
    code = re.search(rf'```python title="with {tool}"\n(.*?)```', page, re.DOTALL)[1]
    monkeypatch.chdir(repository)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "tools.md", "exec"), {"__name__": "__main__"})
    assert float(printed.getvalue().split()[-1]) < 1e-4
