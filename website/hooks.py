"""Hooks of MkDocs (mkdocs.yml): the pages of the site that are not files of docs/, and links between all of them.

README.md and the other pages at the top of the repository become pages of the site, its API pages are made from the
package's public names, and a file of the repository that a page links to gets a page with its text. So the links of the
Markdown files, which are those of the repository, lead somewhere on the site too, without a network.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from api_pages import api_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# Page of the site -> file at the top of the repository.
TOP_PAGES = {
    "index.md": "README.md",
    "INSTALL.md": "INSTALL.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
}
_SOURCES = "source"  # folder of the pages with texts of files
_LANGUAGES = {".py": "python", ".cff": "yaml", ".yaml": "yaml", ".sh": "bash"}
# Code is left as it is: fenced blocks and spans in backticks; or a link's end, `](target)`.
_CODE_OR_LINK = re.compile(r"^(```+).*?^\1|(`+)[^`].*?\2(?!`)|\]\(([^)\s]+)\)", flags=re.MULTILINE | re.DOTALL)
_FENCE = "`" * 4


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files of docs/, and the style sheet."""
    add = files.append
    for page, path in TOP_PAGES.items():
        add(File.generated(config, page, abs_src_path=str(ROOT / path)))
    for page, text in api_pages(ROOT / "mutualnet3d").items():
        add(File.generated(config, page, content=text))
    for name in ("site.css", "iframe-worker.js"):
        add(File.generated(config, name, abs_src_path=str(ROOT / "website" / name)))
    pages = {file.src_uri: file for file in files.documentation_pages()}
    linked = {path for uri, file in pages.items() for path in repository_links(uri, file.content_string)}
    for path in sorted(linked):
        if site_uri(path) not in files.src_uris and (ROOT / path).is_file():
            add(File.generated(config, source_uri(path), content=source_page(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links to their pages."""
    return with_site_links(page.file.src_uri, markdown, set(files.src_uris))


def repository_path(uri: str) -> str:
    """Return the file of the repository that a page of the site is made from."""
    return TOP_PAGES.get(uri, f"docs/{uri}")


def site_uri(path: str) -> str:
    """Return the page or file of the site that shows a file of the repository."""
    for page, top in TOP_PAGES.items():
        if path == top:
            return page
    return path.removeprefix("docs/") if path.startswith("docs/") else source_uri(path)


def source_uri(path: str) -> str:
    """Return the page of the site with the text of a file."""
    return f"{_SOURCES}/{path}.md"


def source_page(path: str) -> str:
    """Return a page with the text of a file, which the search leaves out."""
    language = _LANGUAGES.get(Path(path).suffix, "text")
    text = (ROOT / path).read_text(encoding="utf-8")
    head = f"---\ntitle: {path}\nsearch:\n  exclude: true\n---\n\n# {path}\n"
    return f'{head}\n{_FENCE}{language} linenums="1"\n{text.rstrip()}\n{_FENCE}\n'


def repository_links(uri: str, markdown: str) -> Iterator[str]:
    """Yield the files of the repository that a page links to, relative to its top."""
    for match in _CODE_OR_LINK.finditer(markdown):
        if match[3] and (path := linked_path(uri, match[3])):
            yield path


def linked_path(uri: str, link: str) -> str:
    """Return the path of a link's file, relative to the repository; "" for an address or a place of the same page."""
    file = unquote(link.partition("#")[0])
    if not file or re.match(r"[a-z]+:", link):
        return ""
    return posixpath.normpath(posixpath.join(posixpath.dirname(repository_path(uri)), file))


def with_site_links(uri: str, markdown: str, uris: set[str]) -> str:
    """Return a page's text with links to pages of the site. Links to nothing stay: MkDocs reports them.

    Args:
        uri: page of the site.
        markdown: text of the page.
        uris: all pages and files of the site.
    """

    def replace(match: re.Match[str]) -> str:
        path = linked_path(uri, match[3]) if match[3] else ""
        target = site_uri(path) if path else ""
        if target not in uris:
            return match[0]
        _, hash_mark, place = match[3].partition("#")
        return f"]({posixpath.relpath(target, posixpath.dirname(uri) or '.')}{hash_mark}{place})"

    return _CODE_OR_LINK.sub(replace, markdown)
