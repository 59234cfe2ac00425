"""Links, words and error texts of the pages, and the citation."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

import mutualnet3d as m3

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
FAQ = (ROOT / "docs" / "FAQ.md").read_text(encoding="utf-8")


def prose(page: str) -> str:
    """Return a page's text without its blocks of code."""
    return re.sub(r"^(```+).*?^\1", "", page, flags=re.MULTILINE | re.DOTALL)


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    counts, anchors_of_page = Counter[str](), set()
    for heading in re.findall(r"^#+ (.*?)\s*$", prose(page), flags=re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        anchors_of_page.add(f"{slug}-{counts[slug]}" if counts[slug] else slug)
        counts[slug] += 1
    return anchors_of_page


def broken_links(path: Path) -> list[str]:
    """Return a page's relative links that lead to no file, or to no heading of a page."""
    text = re.sub(r"`[^`\n]*`", "`code`", prose(path.read_text(encoding="utf-8")))
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / unquote(file) if file else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    return broken


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    assert broken_links(path) == []


def test_broken_links_are_seen(tmp_path):
    (tmp_path / "a.md").write_text("# One `two`: three\n\n## Again\n\n## Again\n\n```\n# [no](heading)\n```\n")
    links = "[](a.md#one-two-three) [](a.md#again-1) [](a.md#again-2) [](a.md#no) [x](b.md) `[](c.md)` [](https://x.y)"
    (tmp_path / "page.md").write_text(f"{links} [](#top)\n\n# Top\n")
    assert broken_links(tmp_path / "page.md") == ["a.md#again-2", "a.md#no", "b.md"]


def test_every_page_is_one_click_from_the_readme():
    linked = set(re.findall(r"\]\((docs/\w+\.md)\)", README))
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} == linked


def test_the_readme_is_short_and_has_the_words_that_people_search_for():
    assert len(README.splitlines()) <= 150
    words = ("fine-tune", "multi-GPU", "inference", "webcam", "pretrained", "quick start")
    words += ("GPU memory", "resuming", "refused", "logits", "choose a budget", "citation", "commercial", "`--help`")
    assert [word for word in words if word.lower() not in README.lower()] == []


@cache
def sources_of_the_package() -> str:
    """Return the text of all modules, neighbouring literals of one text joined."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "mutualnet3d").rglob("*.py")]
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(sources))


def absent_parts(text: str) -> list[str]:
    """Return the parts of an error text, between `...`, that no module of the package has."""
    return [part for part in text.split("...") if part.strip(" ;:,") and part not in sources_of_the_package()]


def test_the_error_texts_of_the_faq_are_the_packages():
    errors = re.findall(r"^### `(.*)`$", FAQ, flags=re.MULTILINE)
    assert len(errors) > 20
    assert {error: parts for error in errors if (parts := absent_parts(error))} == {}


def test_an_error_text_that_nothing_prints_is_seen():
    assert absent_parts("TRAIN.BATCH_SIZE is ..., the job's; it must be a multiple of ...") == [
        ", the job's; it must be a multiple of "
    ]


def test_the_citation_is_of_this_version_and_of_the_readmes_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == m3.__version__
    (paper,) = citation["references"]
    assert f"{{{paper['title']}}}" in README
    authors = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    assert authors in re.sub(r"\s+", " ", README)
