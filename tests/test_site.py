"""The site of the pages: links, navigation, the config reference, the API pages, and what a browser shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyslowfast_keys
import pytest
from api_pages import api_pages, documented_names, public_names
from config_reference import PAGE, Group, config_reference, linked, read_groups, read_places, type_text

import mutualnet3d as m3
from mutualnet3d.config import pyslowfast
from mutualnet3d.config.key_rules import RULES
from mutualnet3d.config.rule import Rule

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mutualnet3d"


@pytest.fixture
def hooks():
    pytest.importorskip("mkdocs", reason="mkdocs is not installed (extra [docs])")
    import hooks

    return hooks


def test_the_config_reference_is_current():
    assert PAGE.read_text(encoding="utf-8") == config_reference(), "run python website/config_reference.py"


def test_the_config_reference_has_every_key():
    headings = re.findall(r"^### ([A-Z0-9_.]+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings == list(RULES)


def test_the_page_of_pyslowfasts_keys_is_current_and_has_each_once():
    text = pyslowfast_keys.PAGE.read_text(encoding="utf-8")
    assert text == pyslowfast_keys.page_text(), "run python website/pyslowfast_keys.py"
    cells = re.findall(r"^\| (.+?) \| ", text, flags=re.MULTILINE)
    keys = [key for cell in cells for key in re.findall(r"[`\[]([A-Za-z0-9_.]+)[`\]]", cell)]
    assert sorted(keys) == sorted(pyslowfast_keys.keys())


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("LOG_PERIOD", "same"),
        (
            "MODEL.ARCH",
            "same, but `x3d`, `slow`, `c2d`, `i3d`, `slowfast`, no `mvit`; default `'x3d'`, there `'slowfast'`",
        ),
        ("BN.NUM_SYNC_DEVICES", "same, but default `0`, there `1`"),
        ("RESNET.NUM_GROUPS", "must be 1"),
        ("MODEL.HEAD_ACT", "no effect: `MODEL.LOSS_FUNC bce` has sigmoid outputs"),
        ("NUM_GPUS", "no effect: as many processes as torchrun or SLURM start"),
        ("MVIT.DEPTH", "no effect: MViT is not offered"),
    ],
)
def test_each_key_of_pyslowfast_has_an_answer(key, answer):
    assert pyslowfast_keys.answer(key) == answer


def test_a_key_without_effect_and_without_a_reason_is_an_error(monkeypatch):
    monkeypatch.delitem(pyslowfast_keys._REASONS, "BN.NUM_SPLITS")
    with pytest.raises(ValueError, match=r"^BN\.NUM_SPLITS is a key without effect; .* has no reason for it$"):
        pyslowfast_keys.page_text()


def test_keys_are_read_with_the_comment_above_them():
    source = "# ---- Net ----\n# Layers,\n# all.\n_C.A = 1\n# Two.\n_C.B.C = [1]\n_C.B.D = 2\n"
    source += "\n# ---- Run ----\n# E.\n_C.E = 3\n"
    groups = read_groups(source)
    assert groups == [
        Group("Net", {"A": "Layers, all.", "B.C": "Two.", "B.D": "Two."}),
        Group("Run", {"E": "E."}),
    ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("# ---- Net ----\n_C.A = 1\n", r"^defaults\.py, line 2: A has no comment above$"),
        ("# ---- Net ----\n# A.\n_C.A = 1\n\n_C.B = 1\n", r"^defaults\.py, line 5: B has no comment above$"),
        ("# A.\n_C.A = 1\n", r"^defaults\.py, line 2: A has no title above$"),
    ],
)
def test_a_key_without_a_description_is_an_error(source, message):
    with pytest.raises(ValueError, match=message):
        read_groups(source)


def test_places_are_where_cfg_is_read(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "check.py").write_text("cfg.TRAIN.ENABLE")
    (tmp_path / "a.py").write_text(
        "def f(cfg):\n    return cfg.TRAIN.ENABLE, cfg.OUTPUT_DIR.upper(), cfg.NO.KEY, x.RNG_SEED"
    )
    (tmp_path / "b.py").write_text("self.cfg.TRAIN.ENABLE\n")
    assert read_places(tmp_path) == {"TRAIN.ENABLE": ["a.py", "b.py"], "OUTPUT_DIR": ["a.py"]}


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Rule(bool), "True or False"),
        (Rule(bool, words=("auto",)), "True or False or `auto`"),
        (Rule(int, low=1), "whole number: at least 1"),
        (Rule(str, choices=("a", "b")), "text: `a` or `b`"),
        (Rule(float, low=0, below=1, lengths=(2,)), "list of numbers: 2 values in [0, 1)"),
        (Rule(int, low=1, high=9, lengths=()), "list of whole numbers: any number of values in [1, 9]"),
        (Rule(float, lengths=(3,), text="3 values, one per channel"), "list of numbers: 3 values, one per channel"),
    ],
)
def test_types_and_ranges(rule, text):
    assert type_text(rule) == text


def test_other_keys_in_a_description_are_links():
    text = "`RNG.SEED <` of TRAIN.ENABLE, TRAIN.BATCH_SIZES < TEST.BATCH_SIZE."
    expected = "`RNG.SEED <` of TRAIN.ENABLE, TRAIN.BATCH_SIZES &lt; [TEST.BATCH_SIZE](#testbatch_size)."
    assert linked(text, "TRAIN.ENABLE") == expected


def test_pyslowfasts_tables_are_of_keys():
    assert set(RULES) > pyslowfast.OWN_KEYS
    # As they were compared with PySlowFast's own defaults; a new key of this project belongs into pyslowfast.py's _OWN.
    assert len(RULES) - len(pyslowfast.OWN_KEYS) == 96
    assert set(RULES) - pyslowfast.OWN_KEYS > set(pyslowfast.OTHER_DEFAULTS)
    assert not pyslowfast.KEYS_WITHOUT_EFFECT & set(pyslowfast.FIXED_KEYS)
    assert not (pyslowfast.KEYS_WITHOUT_EFFECT | set(pyslowfast.FIXED_KEYS)) & set(RULES)


def test_every_public_name_has_its_entry():
    names = documented_names(PACKAGE)
    assert names["index"] == [f"mutualnet3d.{name}" for name in m3.__all__]
    assert "mutualnet3d.mutual.calibrate.calibrate" in names["mutual"]  # the module has that name too
    everything = [name for page in names.values() for name in page]
    assert len(everything) == len(set(everything))
    assert "::: mutualnet3d.create_model\n" in api_pages(PACKAGE)["api/index.md"]


def test_a_module_without_public_names_is_an_error():
    assert public_names("import os\n__all__ = ['a', 'b']\n") == ["a", "b"]
    with pytest.raises(ValueError, match=r"^no __all__ in the module$"):
        public_names("import os\n")


def test_links_of_the_repository_become_links_of_the_site(hooks):
    uris = {"index.md", "INSTALL.md", "DATA.md", "a/b.md", "pictures/x.png", "source/LICENSE.md"}
    text = (
        "[a](docs/DATA.md#lists) ![](docs/pictures/x.png) [b](LICENSE) [c](https://x.y) [d](#top) `[e](docs/DATA.md)`\n"
    )
    changed = (
        "[a](DATA.md#lists) ![](pictures/x.png) [b](source/LICENSE.md) [c](https://x.y) [d](#top) `[e](docs/DATA.md)`\n"
    )
    block = "```\n[f](docs/DATA.md)\n```\n"
    assert hooks.with_site_links("index.md", text + block, uris) == changed + block
    assert hooks.with_site_links("DATA.md", "[a](../README.md#x) [b](no.md) [c](../INSTALL.md)", uris) == (
        "[a](index.md#x) [b](no.md) [c](INSTALL.md)"
    )
    assert hooks.with_site_links("a/b.md", "[a](../../LICENSE)", uris) == "[a](../source/LICENSE.md)"


def test_the_navigation_has_every_page(hooks):
    """A page that it leaves out fails the strict build too, which takes longer."""
    from mkdocs.config import load_config

    def pages(entries):
        for entry in entries:
            for value in entry.values() if isinstance(entry, dict) else [entry]:
                yield from pages(value) if isinstance(value, list) else [value]

    in_navigation = list(pages(load_config(str(ROOT / "mkdocs.yml")).nav))
    in_docs = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(in_navigation) == sorted(in_docs | set(hooks.TOP_PAGES) | set(api_pages(PACKAGE)))


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a checkout as `make docs` does."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed (extra [docs])")
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_needs_no_network(site):
    assert 'id="mutualnet3d.create_model"' in (site / "api" / "index.html").read_text()
    assert 'id="trainbatch_size"' in (site / "CONFIG_REFERENCE.html").read_text()
    assert 'src="pictures/demo.png"' in (site / "index.html").read_text()
    assert (site / "pictures" / "demo.png").exists()
    loaded = {
        address
        for page in site.rglob("*.html")
        for address in re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="(https?:[^"]*)', page.read_text())
        + re.findall(r'<link[^>]*rel="(?:stylesheet|preconnect|icon)"[^>]*href="(https?:[^"]*)', page.read_text())
    }
    assert loaded == set()


@pytest.mark.slow
def test_a_broken_link_fails_the_build(tmp_path):
    """On a site of two pages, with the settings of the whole one, which takes many seconds."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed (extra [docs])")
    text = (ROOT / "mkdocs.yml").read_text()
    text = re.sub(r"^  - mkdocstrings:\n(    .*\n)*", "", text, flags=re.MULTILINE)
    text = re.sub(r"^(hooks|extra_css|watch): .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^nav:\n.*", "nav: [PYTHON.md, DATA.md]\n", text, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "mkdocs.yml").write_text(text)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "DATA.md").write_text("# Data\n\n## Lists\n")
    for link, status in (("DATA.md#lists", 0), ("NO_PAGE.md", 1), ("DATA.md#no-heading", 1), ("../no_file.py", 1)):
        (tmp_path / "docs" / "PYTHON.md").write_text(f"# Python\n\n[link]({link})\n")
        done = build(tmp_path, tmp_path / "site")
        assert done.returncode == status, done.stderr
        assert (link in done.stderr) == bool(status)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (1280, 390)


@pytest.mark.browser
def test_pages_fit_the_window_and_the_search_finds_a_key(site):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            for width in WIDTHS:
                page = browser.new_page(viewport={"width": width, "height": 900})
                requests: list[str] = []
                page.on("request", lambda request, requests=requests: requests.append(request.url))
                for name in ("index", "CONFIG_REFERENCE", "PYSLOWFAST_KEYS", "RESULTS", "api/index"):
                    page.goto(f"file://{site}/{name}.html")
                    root = "document.documentElement"
                    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"), (name, width)
                    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)"), (name, width)
                assert [address for address in requests if not address.startswith("file:")] == []
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"file://{site}/index.html")
            page.get_by_placeholder("Search").click()
            page.keyboard.type("CHECKPOINT_SECONDS")
            page.locator(".md-search-result__link", has_text="TRAIN.CHECKPOINT_SECONDS").first.click(timeout=60_000)
            assert "CONFIG_REFERENCE.html" in page.url
        finally:
            browser.close()
