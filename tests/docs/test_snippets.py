"""Every Python block of the README and the documentation runs, in order, in one namespace for each page.

A block with ``>>>`` is a doctest, its output is compared; any other is executed. Blocks of other languages
(``text``, ``console``) are not run. A page runs as ``__main__`` in an empty directory, as its reader
would in a notebook.
"""

from __future__ import annotations

import doctest
import linecache
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL


def blocks(page: Path) -> list[tuple[int, str]]:
    """Line number and text of each Python block."""
    text = page.read_text()
    return [(text.count("\n", 0, found.start(1)), found.group(1)) for found in BLOCK.finditer(text)]


def execute(name: str, line: int, code: str, namespace: dict[str, Any]) -> None:
    """Run a block with a source that tracebacks and `inspect` can find."""
    source = "\n" * line + code
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), namespace)


def compare(name: str, line: int, code: str, namespace: dict[str, Any]) -> None:
    """Run a block as a doctest."""
    test = doctest.DocTestParser().get_doctest(code, namespace, name, name, line)
    test.globs = namespace
    output: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=output.append, clear_globs=False)
    assert not result.failed, "".join(output)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda page: page.name)
def test_snippets(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEFT_CACHE", str(tmp_path / "cache"))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for line, code in blocks(page):
        run = compare if ">>> " in code else execute
        run(f"<{page.name}:{line}>", line, code, namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_exist_and_are_small(page: Path) -> None:
    for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)|<img[^>]* src=\"([^\"]+)\"", page.read_text()):
        path = page.parent / next(filter(None, target))
        assert path.is_file(), f"{page.name} shows {path}"
        assert path.stat().st_size < 200_000, f"{path} is large"
