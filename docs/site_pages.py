"""Pages of the site not in docs/: the studies' own, the notebook, the changelog, and a reference page a room.

MkDocs calls `on_config` first, `on_files` before it reads the pages and `on_page_markdown` for each. Links out
of the site, to code or settings, are shown as names; those that lead nowhere are left, so that a strict build fails.
"""

from __future__ import annotations

import ast
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from linear_shortcuts._door import homes

REPOSITORY = Path(__file__).resolve().parents[1]
LIBRARY = REPOSITORY / "linear_shortcuts"
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


def on_config(config: Any) -> Any:
    """Put the rooms, from the ground up, behind what the reference begins with."""
    words = (ast.get_docstring(ast.parse((LIBRARY / "__init__.py").read_bytes())) or "").replace("\n", " ")
    rooms = re.findall(r"\w+", words.rpartition(": ")[2])
    [reference] = [part["Reference"] for part in config["nav"] if "Reference" in part]
    reference += [{room: f"reference/{room}.md"} for room in rooms]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and pictures that lie elsewhere in the repository."""
    for study in sorted(path.parent for path in (REPOSITORY / "studies").glob("*/dvc.yaml")):
        for path in (*study.glob("*.md"), *study.glob("figures/*.svg")):
            files.append(File.generated(config, str(path.relative_to(REPOSITORY)), abs_src_path=str(path)))
    for notebook in (REPOSITORY / "docs" / "notebooks").glob("*.ipynb"):
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=_notebook(notebook)))
    files.append(File.generated(config, "changelog.md", abs_src_path=str(REPOSITORY / "CHANGELOG.md")))
    for door in (LIBRARY / "__init__.py", *sorted(LIBRARY.glob("*/__init__.py"))):
        files.append(File.generated(config, f"reference/{door.parent.name}.md", content=_reference(door)))
    return files


def on_page_markdown(markdown: str, *, page: Any, files: Files, **_: Any) -> str:
    """Links of a page as the site has them."""
    origin = _origin(page.file.src_uri)
    return LINK.sub(lambda link: _site_link(link, page.file.src_uri, origin, files), markdown)


def _reference(door: Path) -> str:
    """A room's words and its public names; the library's own page names where each of them is explained."""
    words = ast.get_docstring(ast.parse(door.read_bytes()))
    first = homes(str(LIBRARY / "__init__.py"))
    if door.parent == LIBRARY:
        lines = [
            f"- [`{name}`][{module}.{name}], of `{module.split('.')[1]}`" for name, module in sorted(first.items())
        ]
        names = "\n".join(lines)
    else:
        room = f"linear_shortcuts.{door.parent.name}."
        own = homes(str(door)) | {name: module for name, module in first.items() if module.startswith(room)}
        names = "\n\n".join(f"::: {module}.{name}" for name, module in sorted(own.items()))
    return f"# {door.parent.name}\n\n{words}\n\n{names}\n"


def _notebook(path: Path) -> str:
    """A notebook's words, code and outputs as a page."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/html" in data:
                parts.append("".join(data["text/html"]))
            else:
                parts.append(f"```\n{''.join(output.get('text') or data['text/plain']).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def _origin(uri: str) -> str:
    """Where in the repository a page of the site lies."""
    if uri == "changelog.md":
        return "CHANGELOG.md"
    return uri if uri.startswith("studies/") else f"docs/{uri}"


def _site_link(link: re.Match[str], uri: str, origin: str, files: Files) -> str:
    text, target = link.groups()
    path, mark, anchor = target.partition("#")
    if "://" in target or not path:
        return link[0]
    place = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
    there = "changelog.md" if place == "CHANGELOG.md" else place.removeprefix("docs/").replace(".ipynb", ".md")
    if files.get_file_from_path(there) is not None:
        return f"[{text}]({posixpath.relpath(there, posixpath.dirname(uri) or '.')}{mark}{anchor})"
    return text if (REPOSITORY / place).exists() else link[0]
