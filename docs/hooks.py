"""MkDocs hooks: pages that are kept elsewhere in the repository."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]

# Files outside docs/, by their place in the site.
ELSEWHERE = {
    "benchmarks/README.md": "benchmarks/index.md",
    "benchmarks/results/pytorch.png": "benchmarks/results/pytorch.png",
    "benchmarks/results/methods.png": "benchmarks/results/methods.png",
    "benchmarks/results/restorations.png": "benchmarks/results/restorations.png",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
# Links of those pages to files that are not part of the site.
OUTSIDE = re.compile(r"\[([^\]]+)\]\((LICENSE|NOTICE|SECURITY\.md)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that are kept outside docs/."""
    for path, place in ELSEWHERE.items():
        if (ROOT / path).exists():
            files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Point links that leave docs/ in the repository to the pages of the site."""
    up = "../" * page.file.src_uri.count("/")
    for path, place in ELSEWHERE.items():
        link = re.compile(rf"\]\((?:\.\./)+{re.escape(path)}")
        markdown = link.sub(lambda _, to=place: f"]({up}{to}", markdown)
    return OUTSIDE.sub(r"\1", markdown)
