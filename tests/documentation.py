"""The code blocks of the README and of the pages in docs/."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced code blocks of a Markdown page that are in a language.

    Each follows as many empty lines as there are above it, so that a traceback names
    the line of the page.
    """
    text = page.read_text()
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, re.M | re.S)
    return ["\n" * text[: m.start(1)].count("\n") + m[1] for m in found]


def run_python(page: Path) -> dict[str, object]:
    """Run a page's Python blocks one after another, and return their common scope."""
    scope: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), scope)
    return scope
