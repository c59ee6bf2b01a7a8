"""What a step makes true of files and servers: folders, files, a running name server.

Each has the four faces of a fact that `nettool.effects` describes.
"""

from __future__ import annotations

from nettool.presence import ABSENT, PRESENT, Presence, State
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.facts import Facts


class Folder(Value):
    """A folder that is there. `holds` are the files of ours in it: with another one it is not ours alone."""

    path: str
    holds: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The folder's path."""
        return f"folder {self.path}"

    def state(self, facts: Facts) -> State:
        """Present when the folder is there."""
        return PRESENT if self.path in facts.folders else ABSENT

    def is_shared(self, facts: Facts) -> bool:
        """Whether somebody else's file is in it, too."""
        inside = (path for path, _ in facts.files if path.rpartition("/")[0] == self.path)
        return bool(self.holds) and any(path not in self.holds for path in inside)

    def sentence(self) -> str:
        """Say it."""
        return f"{self.path} is a folder"


class File(Value):
    """A file with a text; `instead_of` is the text that it had before, where nettool wrote that."""

    path: str
    text: str
    instead_of: str | None = None

    @property
    def key(self) -> str:
        """The file's path."""
        return f"file {self.path}"

    def state(self, facts: Facts) -> State:
        """Present when the file says that, and nothing else."""
        there = dict(facts.files).get(self.path)
        if there == self.text:
            return PRESENT
        if there is None or there == self.instead_of:
            return ABSENT
        # A full disk takes only the beginning of it.
        return State(Presence.OTHER, "says something else", leftover=self.text.startswith(there))

    def sentence(self) -> str:
        """Say it."""
        return f"{self.path} says: {' / '.join(self.text.splitlines())}"


class NameServer(Value):
    """A dnsmasq that runs, known by its pid file."""

    pid_file: str

    @property
    def key(self) -> str:
        """The pid file: each server has its own."""
        return f"server {self.pid_file}"

    def state(self, facts: Facts) -> State:
        """Present when that server runs."""
        return PRESENT if self.pid_file in facts.servers else ABSENT

    def sentence(self) -> str:
        """Say it."""
        return f"dnsmasq runs with {self.pid_file}"
