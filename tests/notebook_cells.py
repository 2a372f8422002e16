"""The cells of docs/notebooks/tour.ipynb, run in order in this process, with the outputs that they have today.

python tests/notebook_cells.py        # writes them into the notebook
"""

import ast
import contextlib
import copy
import io
import json
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
TOUR = REPOSITORY / "docs" / "notebooks" / "tour.ipynb"


def as_it_runs(notebook: dict) -> dict:
    """A notebook with the outputs that its cells have today; they run from the repository's root."""
    names: dict[str, object] = {"__name__": "__main__"}
    made = copy.deepcopy(notebook)
    with contextlib.chdir(REPOSITORY) if hasattr(contextlib, "chdir") else contextlib.nullcontext():
        code = [cell for cell in made["cells"] if cell["cell_type"] == "code"]
        for count, cell in enumerate(code, 1):
            printed, value = _run("".join(cell["source"]), names)
            outputs = [{"output_type": "stream", "name": "stdout", "text": printed.splitlines(True)}] if printed else []
            if value is not None:
                data = {"text/plain": [repr(value)]}
                if hasattr(value, "_repr_html_"):
                    data["text/html"] = value._repr_html_().splitlines(True)
                outputs.append(
                    {"output_type": "execute_result", "execution_count": count, "metadata": {}, "data": data}
                )
            cell["execution_count"], cell["outputs"] = count, outputs
    return made


def _run(source: str, names: dict) -> tuple[str, object]:
    """What a cell prints, and the value of its last line."""
    body = ast.parse(source).body
    last = ast.Expression(body.pop().value) if body and isinstance(body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), TOUR.name, "exec"), names)
        value = None if last is None else eval(compile(last, TOUR.name, "eval"), names)
    return printed.getvalue(), value


if __name__ == "__main__":
    TOUR.write_text(json.dumps(as_it_runs(json.loads(TOUR.read_text())), indent=1, ensure_ascii=False) + "\n")
