"""What mkdocs does with links that leave docs/, which work in the repository but not on the site.

A picture is copied to the site. A link to another file becomes one to `repo_url` where mkdocs.yml
has that, and its text alone where not. A file that is not there is a warning, so `--strict` stops.
"""

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

log = logging.getLogger("mkdocs.hooks.links")
LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]\n]*)\]\((?P<to>\.\./[^)\s]*)\)")
BLOCK = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
PICTURES = "pictures"  # the folder of the site that they are copied to


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The text of a page with its links to files outside of docs/ replaced."""
    root, folder = Path(config["docs_dir"]).parent, posixpath.dirname(page.file.src_uri)

    def replaced(link: re.Match[str]) -> str:
        target, _, anchor = link["to"].partition("#")
        name = posixpath.normpath(posixpath.join("docs", folder, target))
        if not (root / name).exists():
            log.warning("%s: %s is not in the repository", page.file.src_uri, link["to"])
            return link["text"]
        if link["picture"]:
            copy = f"{PICTURES}/{name}"
            if files.get_file_from_path(copy) is None:
                files.append(File.generated(config, copy, abs_src_path=str(root / name)))
            return f"![{link['text']}]({copy})"
        if not config["repo_url"]:
            return link["text"]
        where = f"{config['repo_url'].rstrip('/')}/blob/main/{name}"
        return f"[{link['text']}]({where}{'#' + anchor if anchor else ''})"

    parts = BLOCK.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(replaced, part) for part in parts)
