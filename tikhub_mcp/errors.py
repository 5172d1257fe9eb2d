"""Every failure this package foresees.

    TikHubMCPError
    ├── KeyMissing                     stop, and tell the human; nothing was sent
    ├── RequestError                   the call itself is wrong; nothing was paid
    │   └── InvalidInput, UnsupportedLink, PathNotAllowed
    ├── AnswerError                    TikHub gave no usable post
    │   ├── KeyInvalid, InsufficientBalance, PermissionDenied      stop, and tell the human
    │   ├── RateLimited, TikHubUnavailable                         worth another try
    │   └── PostUnavailable, NotAVideo, WrongPost, UnexpectedAnswer
    ├── FileError                      the video did not reach the disk
    │   ├── MediaUnavailable, MediaInvalid                         worth another try
    │   └── TooLarge, DiskFull, NotWritable
    └── ApiCallLimit                   the caller's own cap on paid calls

Any other exception is a bug: only the server's outermost door meets it, logs its traceback and answers
`internal_error`. Messages name posts by id; they never hold the key, a signed media link, or other people's text.
"""

from typing import ClassVar


class TikHubMCPError(Exception):
    """A failure with a code that callers can rely on, and a message fit to be shown.

    Attributes:
        code: The stable name of the failure.
        retryable: Whether the same call may succeed later without anybody changing anything.
        stop: Whether no further call makes sense until a human has acted.
        exit_code: What `tikhub-mcp one` ends with.
        tell_human: What the human must do, or None.
        parse_retry_after: Seconds to wait before asking again, where the other side named them.
    """

    code: ClassVar[str] = "internal_error"
    retryable: bool = False
    stop: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1
    tell_human: str | None = None

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class KeyMissing(TikHubMCPError):
    """No usable API key is configured."""

    code = "api_key_missing"
    stop = True
    exit_code = 3


class RequestError(TikHubMCPError):
    """The call is wrong as it stands; nothing was paid."""

    exit_code = 2


class InvalidInput(RequestError):
    """An argument, a file of links or a setting that cannot be used."""

    code = "invalid_input"


class UnsupportedLink(RequestError):
    """Not a link to one TikTok or Douyin post."""

    code = "unsupported_link"


class PathNotAllowed(RequestError):
    """A path outside the folders that tools may use."""

    code = "path_not_allowed"


class AnswerError(TikHubMCPError):
    """TikHub gave no usable post.

    Attributes:
        attempts: How many requests this failure is worth in all.
    """

    attempts: int = 1


class KeyInvalid(AnswerError):
    """HTTP 401: the key is wrong, expired or inactive."""

    code = "api_key_invalid"
    stop = True
    exit_code = 3
    tell_human = (
        "TikHub refused the API key: it is wrong, expired or inactive. Check it at https://user.tikhub.io/ "
        "and put a valid one into TIKHUB_API_KEY."
    )


class InsufficientBalance(AnswerError):
    """HTTP 402: the account cannot pay for the call."""

    code = "insufficient_balance"
    stop = True
    exit_code = 3
    tell_human = (
        "The TikHub account's balance is too low for this call (free credit may not count for it). "
        "Top it up at https://user.tikhub.io/users/add_credit."
    )


class PermissionDenied(AnswerError):
    """HTTP 403: the key lacks the scope, or the account is disabled."""

    code = "permission_denied"
    stop = True
    exit_code = 3
    tell_human = (
        "The TikHub API key lacks the permission (scope) for this endpoint, or the account is disabled. "
        "Check the key's scopes at https://user.tikhub.io/."
    )


class RateLimited(AnswerError):
    """HTTP 429, for longer than it is worth waiting."""

    code = "rate_limited"
    retryable = True
    attempts = 4


class TikHubUnavailable(AnswerError):
    """TikHub could not be reached, or failed."""

    code = "tikhub_unavailable"
    retryable = True

    def __init__(self, message: str, *, attempts: int) -> None:
        super().__init__(message)
        self.attempts = attempts


class PostUnavailable(AnswerError):
    """Private, deleted or blocked: TikHub answered, and was paid, but there is no post."""

    code = "post_unavailable"
    exit_code = 4


class NotAVideo(AnswerError):
    """A photo post: its only media file is the music."""

    code = "not_a_video"
    exit_code = 4


class WrongPost(AnswerError):
    """Another post came back than the link names."""

    code = "wrong_post"
    exit_code = 4


class UnexpectedAnswer(AnswerError):
    """An answer that is not TikHub's: a firewall's page, broken JSON, a redirect."""

    code = "unexpected_answer"
    exit_code = 4


class FileError(TikHubMCPError):
    """The video did not reach the disk."""


class MediaUnavailable(FileError):
    """Every mirror refused.

    Attributes:
        busy: Whether a mirror only said that it cannot answer now (HTTP 429 or 5xx).
    """

    code = "media_unavailable"
    retryable = True
    busy: bool = False


class MediaInvalid(FileError):
    """What came is not the video."""

    code = "media_invalid"
    retryable = True


class TooLarge(FileError):
    """The file is larger than TIKHUB_MAX_BYTES."""

    code = "too_large"


class DiskFull(FileError):
    """No space left for the file."""

    code = "disk_full"


class NotWritable(FileError):
    """The folder or file cannot be written."""

    code = "not_writable"


class ApiCallLimit(TikHubMCPError):
    """The call's own cap, max_api_calls, is reached."""

    code = "api_call_limit"
