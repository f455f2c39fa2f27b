"""What the site shows of the marks behind a code block's language.

The marks are for the tests: ``file=NAME`` writes the block, ``exec`` runs it. A file's name becomes the block's title;
all others go.
"""

from __future__ import annotations

import re
from typing import Any

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[a-z]+)(?P<marks>(?: +[a-z]+(?:=\S+)?)+) *$", re.MULTILINE
)
_FILE = re.compile(r" file=(\S+)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Rewrite the first line of each marked block. MkDocs calls this for every page."""

    def rewrite(fence: re.Match[str]) -> str:
        name = _FILE.search(fence["marks"])
        title = f' title="{name[1]}"' if name else ""
        language = "text" if fence["language"] == "hex" else fence["language"]
        return f"{fence['indent']}```{language}{title}"

    return _FENCE.sub(rewrite, markdown)
