"""What a test has done beside itself, in a thread, while a ``with`` block runs."""

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

_SECONDS = 60.0


class InBackground(ABC):
    """A context manager whose :meth:`work` runs in a thread of its own until it is left.

    What goes wrong there is raised by :meth:`stop`, and when the block ends without an error.
    """

    def __init__(self, name: str) -> None:
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._error: BaseException | None = None

    @abstractmethod
    def work(self) -> None:
        """Do what is to be done, again and again, until ``stopping`` is set."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._join()
        if kind is None:
            self._raise()

    def stop(self) -> None:
        """Let it end what it is about; raise what went wrong."""
        self._join()
        self._raise()

    def _run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self._error = error

    def _join(self) -> None:
        self.stopping.set()
        self._thread.join(_SECONDS)

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
        assert not self._thread.is_alive(), f"{self._thread.name} does not stop"
