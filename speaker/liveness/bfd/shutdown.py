"""Whether the whole box goes down, or only leyline-bfd is told to end. systemd knows; it is asked without waiting."""

from __future__ import annotations

import os
import signal

COMMAND = ("systemctl", "is-system-running")
GOING_DOWN = b"stopping"
"""Its word from when a reboot, power-off, halt or kexec is queued: before the first unit is stopped."""
PATIENCE_SECONDS = 2.0
ANSWER_OCTETS = 64


class Inquiry:
    """One question to systemd, asked now. Without systemd, and without an answer in time, the box stays.

    `descriptor` is readable when there is an answer. Raises OSError when the question cannot be asked.
    """

    def __init__(self, now: float) -> None:
        self.going_down = False
        self._until = now + PATIENCE_SECONDS
        self.descriptor, answer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # Not `subprocess`: it waits until the command is loaded, on a box that may be busy with its end.
        self._pid = os.fork()
        if not self._pid:
            _become_command(answer)
        os.close(answer)

    def over(self, now: float) -> bool:
        """Whether `going_down` holds for good. To be called until it does."""
        try:
            self.going_down = os.read(self.descriptor, ANSWER_OCTETS).strip() == GOING_DOWN
        except BlockingIOError:
            if now < self._until:
                return False
        os.kill(self._pid, signal.SIGKILL)  # Nobody has waited for it: the number is still its own.
        return True


def _become_command(answer: int) -> None:
    """In the child, and never back. What cannot be run says nothing, which is an answer."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor, source in enumerate((nothing, answer, nothing)):
            os.dup2(source, descriptor)
        os.execvp(COMMAND[0], COMMAND)
    finally:
        os._exit(1)
