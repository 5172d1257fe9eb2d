"""A call that runs as a task of the protocol: without a time limit, and its progress is asked for instead of sent."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Background:
    """The state that a tool call and its task share.

    Attributes:
        is_task: Whether the client has the task instead of a reply, and gets no more notifications.
        message: The progress in words; "" until there is some.
    """

    is_task: bool = False
    message: str = ""


BACKGROUND: ContextVar[Background | None] = ContextVar("background", default=None)
"""Set while a tool call runs that may become a task."""
