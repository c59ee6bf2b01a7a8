"""Commands are found where they are at that moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nettool.run import find_tools, run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_tool_that_is_installed_or_moved_later_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`nettool watch` lives for weeks, and packages are upgraded meanwhile."""
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setenv("PATH", f"{first}:{second}:/usr/bin:/bin")
    assert find_tools(("new-tool",)) == {}
    for folder in (second, first):
        folder.mkdir()
        (folder / "new-tool").write_text("#!/bin/sh\necho found\n", encoding="ascii")
        (folder / "new-tool").chmod(0o755)
        assert find_tools(("new-tool",)) == {"new-tool": f"{folder}/new-tool"}
        assert run(("new-tool",)).stdout == "found\n"
