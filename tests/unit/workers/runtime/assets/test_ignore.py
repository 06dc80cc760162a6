from __future__ import annotations

import pytest

from workers.runtime.assets.ignore import Ignore


@pytest.mark.parametrize(
    ("text", "ignored", "kept"),
    [
        ("*.log", ["/a.log", "/x/b.log"], ["/a.logs", "/log"]),
        ("/a.txt", ["/a.txt"], ["/x/a.txt"]),
        ("x/a.txt", ["/x/a.txt"], ["/y/x/a.txt"]),
        ("build/", ["/build/a", "/x/build/b/c"], ["/build"]),
        ("docs/**/x.md", ["/docs/x.md", "/docs/a/b/x.md"], ["/docs/y.md", "/x.md"]),
        ("**/node_modules", ["/node_modules/a", "/x/node_modules/b"], ["/node_modules.txt"]),
        ("out/**", ["/out/a", "/out/b/c"], ["/out"]),
        ("*.log\n!keep.log", ["/a.log"], ["/keep.log", "/x/keep.log"]),
        ("secret/\n!secret/a", ["/secret/a"], ["/a"]),
        ("file?.txt", ["/file1.txt"], ["/file.txt", "/file12.txt", "/file/.txt"]),
        ("file[0-9].txt", ["/file1.txt"], ["/filea.txt"]),
        ("file[!0-9].txt", ["/filea.txt"], ["/file1.txt"]),
        ("# comment\n\n  \n\\#a\n\\!b", ["/#a", "/!b"], ["/# comment", "/a", "/b"]),
        ("trailing  ", ["/trailing"], ["/trailing  "]),
        ("", ["/_headers", "/_redirects", "/.assetsignore", "/.env", "/x/.dev.vars"], ["/x/_headers", "/index.html"]),
    ],
)
def test_patterns_mean_what_they_mean_to_git(text: str, ignored: list[str], kept: list[str]) -> None:
    rules = Ignore(text)
    assert [path for path in ignored if not rules.covers(path)] == []
    assert [path for path in kept if rules.covers(path)] == []
