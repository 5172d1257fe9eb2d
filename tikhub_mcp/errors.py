"""The exceptions for every expected failure of this package.

    TikHubMCPError
    ├── KeyMissing                     stop, and tell the human; nothing was sent
    ├── RequestError                   the call itself is invalid; nothing was paid
    │   └── InvalidInput, UnsupportedLink, PathNotAllowed
    ├── AnswerError                    TikHub gave no usable post
    │   ├── KeyInvalid, InsufficientBalance, PermissionDenied      stop, and tell the human
    │   ├── RateLimited, TikHubUnavailable                         may succeed later
    │   └── NoVideo                                            the same again, however often it is asked for
    │       └── PostUnavailable, NotAVideo, WrongPost, UnexpectedAnswer
    ├── FileError                      the video could not be saved
    │   ├── MediaUnavailable, MediaInvalid                         may succeed later
    │   └── TooLarge, DiskFull, NotWritable
    └── ApiCallLimit                   the limit on paid calls that the caller set

Any other exception is a bug. Three boundaries catch `Exception`: one job, one tool call, and one doctor check. A job
and a tool call log the traceback and report `internal_error`. Messages name posts by id; they never contain the key, a
signed media link, or other people's text.
"""

from typing import ClassVar


class TikHubMCPError(Exception):
    """The base class of all expected failures: a stable code, and a message that may be shown to the user.

    Attributes:
        code: The stable name of the failure.
        message: The text of the failure; it contains no secrets.
        retryable: Whether the same call may succeed later without any change.
        stop: Whether no further call can succeed until a human has acted.
        platform: The platform whose posts alone `stop` concerns; None for all posts.
        lead: How every message of this kind begins.
        exit_code: The exit code of `tikhub-mcp one`.
        tell_human: What the human must do, or None.
        retry_after: Seconds to wait before the next request, if the server named them; otherwise None.
    """

    code: ClassVar[str] = "internal_error"
    retryable: bool = False
    stop: ClassVar[bool] = False
    platform: str | None = None
    lead: ClassVar[str] = ""
    exit_code: int = 1
    tell_human: str | None = None

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(self.lead + message)
        self.message = self.lead + message
        self.retry_after = retry_after


class KeyMissing(TikHubMCPError):
    """No usable API key is configured."""

    code = "api_key_missing"
    stop = True
    exit_code = 3


class RequestError(TikHubMCPError):
    """The call is invalid; nothing was paid."""

    exit_code = 2


class InvalidInput(RequestError):
    """An argument, a file of links or a setting that cannot be used."""

    code = "invalid_input"


class UnsupportedLink(RequestError):
    """The link does not lead to one TikTok or Douyin post."""

    code = "unsupported_link"


class PathNotAllowed(RequestError):
    """The path is outside the folders that tools may use."""

    code = "path_not_allowed"


class AnswerError(TikHubMCPError):
    """TikHub gave no usable post.

    Attributes:
        attempts: The maximum number of requests for one post, the first included, when this failure occurs.
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
    """HTTP 429: TikHub's rate limit is reached."""

    code = "rate_limited"
    retryable = True
    attempts = 4


class TikHubUnavailable(AnswerError):
    """TikHub could not be reached, its response was lost, or it answered with a server error."""

    code = "tikhub_unavailable"
    retryable = True

    def __init__(self, message: str, *, attempts: int) -> None:
        super().__init__(message)
        self.attempts = attempts


class NoVideo(AnswerError):
    """Another call gives the same.

    Some agent frameworks ask the model to try again after every error, hence the beginning of the messages.
    """

    lead = "Do not retry: "
    exit_code = 4


class PostUnavailable(NoVideo):
    """The post is private, deleted or blocked; TikHub answered and charged for it."""

    code = "post_unavailable"


class NotAVideo(NoVideo):
    """The post is a photo post without pictures in the answer; its only media file is the music."""

    code = "not_a_video"


class WrongPost(NoVideo):
    """TikHub returned a different post from the one that the link names."""

    code = "wrong_post"


class UnexpectedAnswer(NoVideo):
    """The response is no answer about a post, but for example a firewall's page, broken JSON or a reported failure."""

    code = "unexpected_answer"


class FileError(TikHubMCPError):
    """The video could not be saved.

    Attributes:
        refused_content: Whether a file arrived complete and was refused for its content, such as an encrypted one. New
            links would bring the same file.
    """

    refused_content: bool = False


class MediaUnavailable(FileError):
    """No mirror served the file.

    Attributes:
        busy: Whether a mirror is only temporarily unable to answer (HTTP 429 or 5xx).
    """

    code = "media_unavailable"
    retryable = True
    busy: bool = False


class MediaInvalid(FileError):
    """The downloaded file is not the video."""

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
    """The limit of the call, max_api_calls, is reached."""

    code = "api_call_limit"
