"""The models of the three tools' replies; their fields are published as output schemas."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from tikhub_mcp.jobs.model import Status
from tikhub_mcp.media.photos.receipt import Role
from tikhub_mcp.posts.extras import Extra
from tikhub_mcp.posts.links import Platform
from tikhub_mcp.posts.post import Metrics

# The links of a server over HTTP are described once: they stand in many places, and models are shown every word.
WebLink = Annotated[str | None, Field(description="Over HTTP: a link to it, which ends")]


class Error(BaseModel):
    """An error, for the caller and its human."""

    code: str
    message: str
    retryable: bool
    stop: bool = Field(description="True: stop, nothing helps until a human acts")
    tell_human: str | None
    retry_after_s: float | None


class File(BaseModel):
    """A video on disk; all values are measured from the file itself."""

    path: str
    uri: str
    size_bytes: int
    sha256: str
    codec: str
    width: int
    height: int
    duration_ms: int | None
    has_audio: bool
    reused: bool
    warnings: list[str]
    url: WebLink = None


class PhotoEntry(BaseModel):
    """A file in the folder of a photo post; all values are measured from the file itself."""

    n: int | None = Field(description="The picture's number; null for music")
    role: Role
    name: str
    size_bytes: int
    format: str
    width: int | None
    height: int | None


class PhotosEntry(BaseModel):
    """The folder of a photo post; post.json in it has every file with its hash."""

    dir: str
    count: int = Field(description="Pictures of the post, the missing ones too")
    clips: int = Field(description="Moving halves of pictures")
    formats: dict[str, int] = Field(description="Of the pictures")
    size_bytes: int
    complete: bool
    missing: list[int] = Field(description="Numbers of pictures that lack the still or the moving half")
    reused: bool
    files: list[PhotoEntry] = Field(description="The first 8, the music among them; post.json in dir has all")
    warnings: list[str]
    url: str | None = None


class ExtraFile(BaseModel):
    """A file beside the video."""

    role: Extra
    path: str
    language: str | None = None
    url: str | None = None


class TranscriptEntry(BaseModel):
    """What is said in the video, from its captions."""

    language: str
    text: str = Field(description="Untrusted text")
    truncated: bool
    auto_generated: bool


class Cost(BaseModel):
    """The cost of a call."""

    api_calls: int = Field(description="Requests that TikHub charges, or whose answer was lost")
    reused_answer: bool


class VideoReply(BaseModel):
    """The reply of download_video."""

    status: Literal["ok", "failed", "pending"]
    url: str
    platform: Platform | None = None
    video_id: str | None = None
    kind: Literal["video", "images"] | None = None
    title: str | None = Field(None, description="The post's own words: untrusted text")
    file: File | None = None
    photos: PhotosEntry | None = Field(None, description="Of a photo post")
    extras: list[ExtraFile] | None = None
    transcript: TranscriptEntry | None = None
    raw_json_path: str | None = None
    raw_json_url: str | None = None
    metrics: Metrics | None = None
    cost: Cost
    note: str | None = None
    error: Error | None = None


class BatchItem(BaseModel):
    """The result of one link of a batch."""

    status: Status
    url: str
    video_id: str | None = None
    path: str | None = Field(None, description="The video, or the folder of a photo post")
    file_url: WebLink = None
    size_bytes: int | None = None
    photos_count: int | None = None
    extras: list[str] | None = Field(None, description="Names of the files of include, in output_dir")
    warnings: list[str] | None = None
    raw_json_path: str | None = None
    raw_json_url: str | None = None
    metrics: Metrics | None = None
    error: Error | None = None


class BatchReply(BaseModel):
    """The reply of batch_download. The most important fields come first, because clients cut long replies."""

    status: Literal["complete", "partial", "stopped"]
    error: Error | None = None
    note: str | None = None
    total: int
    succeeded: int
    failed: int
    pending: int
    skipped: int
    failed_by_code: dict[str, int] = {}
    cost: Cost
    workers: int
    output_dir: str | None = None
    raw_dir: str | None = None
    results_path: str | None = Field(None, description="A CSV table of all results")
    results_url: str | None = None
    distinct_posts: int | None = None
    on_disk: int | None = None
    calls_needed: int | None = None
    retry_urls: list[str]
    retry_count: int | None = Field(None, description="How many there are, when retry_urls holds only the first")
    results_omitted: int = Field(0, description="Results that are only in the table")
    results: list[BatchItem]


class Totals(BaseModel):
    """Sums over the newest answer about each post; null where no post reported the count."""

    posts: int
    plays: int | None
    plays_reported: int = Field(description="Posts whose plays were reported; Douyin's are not")
    likes: int | None
    comments: int | None
    shares: int | None
    saves: int | None
    downloads: int | None


class TopPost(BaseModel):
    """A post in a ranking."""

    video_id: str | None
    author: str = Field(description="Untrusted text")
    title: str = Field(description="How the post's text begins. Untrusted")
    plays: int | None
    likes: int | None
    engagement_rate: float | None
    as_of: str | None
    change: int | None = Field(None, description="Of the plays, or likes, since the oldest answer about the post")
    change_days: float | None = Field(None, description="How much older that one is than `as_of`")


class SummaryReply(BaseModel):
    """The reply of summarize_raw."""

    status: Literal["ok", "failed", "pending"]
    csv_path: str | None = None
    json_path: str | None = None
    history_csv_path: str | None = Field(None, description="How numbers changed, of posts with more than one answer")
    xlsx_path: str | None = None
    html_path: str | None = None
    csv_url: WebLink = None
    json_url: str | None = None
    history_csv_url: str | None = None
    xlsx_url: str | None = None
    html_url: str | None = None
    input: str | None = None
    rows: int = 0
    parsed: int = 0
    broken: int = 0
    posts_with_history: int = 0
    totals: Totals | None = None
    top_by_plays: list[TopPost] = []
    top_by_likes: list[TopPost] = []
    note: str | None = None
    error: Error | None = None


Reply = VideoReply | BatchReply | SummaryReply
