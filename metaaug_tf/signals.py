"""SIGTERM, Ctrl-C, SIGHUP of a closed terminal: the first ends training after the step, the second at once."""

import contextlib
import os
import signal
import sys
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def heeded_signals() -> tuple[signal.Signals, ...]:
    """Returns SIGNALS, without SIGHUP where whoever started this process wants it ignored, as nohup does."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(signum for signum in SIGNALS if signum != signal.SIGHUP or not ignored)


class Stopped(BaseException):
    """Training has stopped on request, everything saved.

    As KeyboardInterrupt it may be raised at any instruction, so handlers of Exception must not take it for a fault of
    their own.

    Attributes:
        exit_code: 129 after SIGHUP, 130 after Ctrl-C, 143 after SIGTERM, as shells count.
    """

    def __init__(self, signum: int):
        """Takes the signal's number."""
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


class StopRequest:
    """Within it, signals are noted instead of obeyed.

    Python runs handlers only between two of its own instructions, so a long step would hold back the second
    signal too; a thread that the signal wakes by itself does not wait.

    Example:
        with StopRequest() as stop:
            ...
            if stop.signum is not None:
                ...
    """

    def __init__(self):
        """Notes nothing before it is entered."""
        self._signum: int | None = None

    @property
    def signum(self) -> int | None:
        """Number of the signal that has come, or None."""
        return self._signum

    def __enter__(self):
        """Takes over the handlers; only in the main thread, as Python demands."""
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._thread = threading.Thread(target=self._watch, args=(self._read,), daemon=True)
        self._thread.start()
        # In this order no signal is lost: one in between still ends the command.
        self._wakeup = signal.set_wakeup_fd(self._write)
        self._handlers = {signum: signal.signal(signum, lambda *_: None) for signum in heeded_signals()}
        return self

    def __exit__(self, *_):
        """Gives the handlers back."""
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._write)
        self._thread.join()
        os.close(self._read)

    def _watch(self, descriptor: int) -> None:
        while received := os.read(descriptor, 1):
            signum = received[0]
            if signum not in SIGNALS:
                continue
            if self._signum is not None and signum == signal.SIGHUP:
                continue  # a terminal that closes sends it twice, by the shell and by the kernel: nobody asks again
            if self._signum is not None:
                os._exit(128 + signum)  # checkpoints are written aside, so nothing half done is left
            self._signum = signum
            with contextlib.suppress(OSError, ValueError):  # the terminal may be gone; the next signal must still count
                print("\nstopping after this step; Ctrl-C again stops at once", file=sys.stderr, flush=True)
