"""The file of a trace store in SQLite: whether it is still the one that was opened, and as it was.

SQLite keeps its own writers away from what is read. It knows nothing of programs that rename or copy another file over
this one: it would read pages of one and the log of the other.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class FileState:
    """A file by device and inode, and its content by size and time of change."""

    place: tuple[int, int]
    content: tuple[int, int]

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """The state of the file that has this name now; None where there is none."""
        try:
            status = path.stat()
        except OSError:
            return None
        return cls((status.st_dev, status.st_ino), (status.st_size, status.st_mtime_ns))

    def is_at(self, path: Path) -> bool:
        """Whether the file still has this name."""
        now = self.of(path)
        return now is not None and now.place == self.place

    def was_written_at(self, path: Path) -> bool:
        """Whether the file still has this name and was written to."""
        now = self.of(path)
        return now is not None and now.place == self.place and now.content != self.content
