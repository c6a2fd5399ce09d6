"""What mkdocs has done beside turning docs/ into pages: the catalog, the files that pages link to,
and an index that can be searched without a server."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import catalog
import source
from links import BESIDE, ROOT, SOURCE, origin, place, rewritten, targets
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Anchors are as the code forges make them; the catalog has its place in the navigation."""
    config.mdx_configs["toc"] = {"slugify": catalog.anchor, "permalink": False}
    config.nav = [
        {"Catalog": catalog.navigation()} if item == {"Catalog": "catalog"} else item
        for item in config.nav or ()
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages that are not in docs/."""
    for path in BESIDE:
        files.append(File.generated(config, place(path), abs_src_path=str(ROOT / path)))
    for name, text in catalog.pages():
        files.append(File.generated(config, name, content=text))
    pages = {file.src_uri: file.content_string for file in files.documentation_pages()}
    linked = {path for page, text in pages.items() for path in targets(text, origin(page))}
    folders = [path for path in linked if (ROOT / path).is_dir()]
    linked |= {below for path in folders for _, below in source.within(path)}
    for path in sorted(linked):
        if place(path).startswith(f"{SOURCE}/") and (ROOT / path).exists():
            text = source.heading(path)
            whole = InclusionLevel.NOT_IN_NAV  # there, though its name may begin with a dot
            files.append(File.generated(config, place(path), content=text, inclusion=whole))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links lead to where files are on the site."""
    return rewritten(markdown, page.file.src_uri, catalog.page_of)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A file that is no page is shown below its name."""
    path = _shown(page.file.src_uri)
    if not page.file.src_uri.startswith(f"{SOURCE}/") or (ROOT / path).is_dir():
        return html
    page.present_anchor_ids = (page.present_anchor_ids or set()) | source.lines(path)
    return html + source.shown(path)


def on_post_build(config: MkDocsConfig) -> None:
    """The index of sections, but for code, becomes a script: a page that was opened from disk may
    read no other file."""
    index = Path(config.site_dir) / "search" / "search_index.json"
    found: list[dict[str, Any]] = json.loads(index.read_text("utf-8"))["docs"]
    code = re.compile(rf"{SOURCE}/|catalog/.*#code$")
    sections = [entry for entry in found if "#" in entry["location"]]
    entries = [entry for entry in sections if not code.match(entry["location"])]
    script = f"window.searchable = {json.dumps(entries, ensure_ascii=False)};\n"
    index.with_suffix(".js").write_text(script, "utf-8")
    index.unlink()


def _shown(page: str) -> str:
    return page.removeprefix(f"{SOURCE}/").removesuffix(".md")
