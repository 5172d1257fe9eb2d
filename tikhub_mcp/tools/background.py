"""A call that may become a task of the protocol: its client asks for the progress, and has to go on asking."""

from contextvars import ContextVar
from dataclasses import dataclass

from tikhub_mcp.jobs.model import Call

POLLED_WITHIN_SECONDS = 60.0  # nothing more is paid for a task that no client has asked about for so long


@dataclass(slots=True)
class Background:
    """The state that a tool call and its task share.

    Attributes:
        is_task: Whether the client has the task instead of a reply, and gets no more notifications.
        message: The progress in words; "" until there is some.
        call: What waits and pays; None until the tool has begun.
    """

    is_task: bool = False
    message: str = ""
    call: Call | None = None

    def keep_waiting(self) -> None:
        """Let the call wait for another POLLED_WITHIN_SECONDS."""
        if self.call:
            self.call.renew(POLLED_WITHIN_SECONDS)


BACKGROUND: ContextVar[Background | None] = ContextVar("background", default=None)
"""Set while a tool call runs that may become a task."""
