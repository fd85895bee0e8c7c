"""What processes cost and what the machine is: everything is read from /proc."""

import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")
_EVERY = 0.05
_PROC = Path("/proc")


@dataclass(slots=True)
class Usage:
    """One process: what it is called, its CPU seconds, and the most memory it ever held (MB).

    ``name`` is short, and what the process chose itself; ``title`` is its command line.
    """

    title: str
    name: str = ""
    cpu: float = 0.0
    peak_mb: float = 0.0


def descendants(parent: int) -> set[int]:
    """Return the process ids of ``parent``, its children, their children and so on."""
    children: dict[int, list[int]] = {}
    for path in _PROC.glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, waiting = set(), [parent]
    while waiting:
        pid = waiting.pop()
        found.add(pid)
        waiting += children.get(pid, [])
    return found


class Watch:
    """Samples process trees until it is left; a context manager.

    ``roots`` gives the process ids at the top of each tree, asked at every sample. What a process
    used after the last sample, a twentieth of a second at most, is lost. What it had used before
    the first one is not counted.
    """

    def __init__(self, roots: Callable[[], Iterable[int]]) -> None:
        self._roots = roots
        self._before: dict[int, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.processes: dict[int, Usage] = {}

    def __enter__(self) -> Self:
        for pid in self._pids():
            self._before[pid] = _cpu(pid)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._sample()
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(_EVERY):
            self._sample()

    def _pids(self) -> Iterator[int]:
        for root in self._roots():
            yield from descendants(root)

    def _sample(self) -> None:
        for pid in self._pids():
            with suppress(OSError):
                usage = self.processes.setdefault(pid, Usage(""))
                cpu = _cpu(pid) - self._before.get(pid, 0.0)
                usage.cpu = max(usage.cpu, cpu)
                title = (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ")
                if title.strip():
                    usage.title = title.decode(errors="replace").strip()
                usage.name = (_PROC / str(pid) / "comm").read_text(errors="replace").strip()
                usage.peak_mb = max(usage.peak_mb, _peak(pid))


def _cpu(pid: int) -> float:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS  # utime and stime, proc(5)


def _peak(pid: int) -> float:
    for line in (_PROC / str(pid) / "status").read_text(errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def fsync_milliseconds(directory: Path, times: int = 200) -> float:
    """Return the median of how long writing 8 kB and fdatasync take in a file of ``directory``."""
    block = os.urandom(8192)
    taken = []
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(block * times)
        os.fsync(file.fileno())
        for number in range(times):
            start = time.perf_counter()
            os.pwrite(file.fileno(), block, number * len(block))
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1000


def machine() -> dict[str, object]:
    """Return facts about this machine that a figure cannot be read without."""
    model = "unknown"
    for line in (_PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": os.cpu_count(),
        "processor": model,
        "memory_gb": round(pages / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": [round(load, 1) for load in os.getloadavg()],
    }
