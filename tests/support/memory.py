"""How much memory the processes of a command take."""

import re
from contextlib import suppress
from pathlib import Path

from tests.support.background import InBackground
from tests.support.litter import processes

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)


class MemoryWatch(InBackground):
    """Sees the largest memory of any process of a session, while its block runs."""

    def __init__(self, session: int) -> None:
        super().__init__("memory")
        self._session = session
        self.highest = 0
        """In bytes."""

    def work(self) -> None:
        """Look often: a process that ends takes with it what it had."""
        while not self.stopping.wait(0.05):
            self.highest = max([self.highest, *peak_memory(self._session)])


def peak_memory(session: int) -> list[int]:
    """Return the largest memory, in bytes, of each process of a session so far (proc(5))."""
    found = []
    for pid in processes(session):
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            found += [int(size) << 10 for size in _PEAK.findall(status)]
    return found
