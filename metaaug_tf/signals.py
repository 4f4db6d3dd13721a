"""SIGTERM and Ctrl-C: the first asks to stop after the step under way, the second stops at once."""

import contextlib
import os
import signal
import sys
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Training has stopped on request, everything saved.

    As KeyboardInterrupt it may be raised at any instruction, so handlers of Exception must not take it for a fault of
    their own.

    Attributes:
        exit_code: 130 after Ctrl-C, 143 after SIGTERM, as shells count.
    """

    def __init__(self, number: int):
        """Takes the signal's number."""
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class StopRequest:
    """Within it, signals are noted instead of obeyed.

    Python runs handlers only between two of its own instructions, so a long step would hold back the second
    signal too; a thread that the signal wakes by itself does not wait.

    Example:
        with StopRequest() as stop:
            ...
            if stop.number is not None:
                ...
    """

    def __init__(self):
        """Notes nothing before it is entered."""
        self._number: int | None = None

    @property
    def number(self) -> int | None:
        """The signal that has come, or None."""
        return self._number

    def __enter__(self):
        """Takes over the handlers; only in the main thread, as Python demands."""
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._thread = threading.Thread(target=self._watch, args=(self._read,), daemon=True)
        self._thread.start()
        # In this order no signal is lost: one in between still ends the command.
        self._wakeup = signal.set_wakeup_fd(self._write)
        self._handlers = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        return self

    def __exit__(self, *_):
        """Gives the handlers back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._write)
        self._thread.join()
        os.close(self._read)

    def _watch(self, descriptor: int) -> None:
        while received := os.read(descriptor, 1):
            number = received[0]
            if number not in SIGNALS:
                continue
            if self._number is not None:
                os._exit(128 + number)  # checkpoints are written aside, so nothing half done is left
            self._number = number
            with contextlib.suppress(OSError, ValueError):  # the terminal may be gone; the next signal must still count
                print("\nstopping after this step; Ctrl-C again stops at once", file=sys.stderr, flush=True)
