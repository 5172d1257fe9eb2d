"""The faults of the matrix, each as the sequence of responses of one mirror."""

import gzip
from dataclasses import dataclass

from benchmarks.origin import MEDIA, Act, Reply, Request, chunked, cut, drip, refuse, serve, with_headers
from tests.support.make_media import retouched

GOOD = (MEDIA / "h264_large.mp4").read_bytes()
SIZE, HALF = len(GOOD), len(GOOD) // 2
CHANGED = retouched(GOOD)  # another valid file of the same length
RIGHT = (GOOD, CHANGED)  # either is right; a mixture of both is not
PAGE = b"<!DOCTYPE html><title>Access Denied</title>" * 2000
ZIPPED = gzip.compress(GOOD)
PLAIN = Request("GET", "", {})
GOES_ON = serve(GOOD)
RESET, FIN = cut(GOES_ON, HALF, "reset"), cut(GOES_ON, HALF)
NO_LENGTH = with_headers(FIN, Content_Length=None)
LONGER = serve(GOOD + bytes(5000))
NEW = serve(CHANGED, '"2"')
WEAK, WEAK_NEW = 'W/"1"', serve(CHANGED, 'W/"1"', trusting=True)


@dataclass(frozen=True)
class Fault:
    """The responses of a mirror, one for each request; the last one repeats. `once`: a retry can recover."""

    name: str
    acts: tuple[Act, ...]
    once: bool = False


def mangled(**headers: str | None) -> tuple[Act, ...]:
    """A reset, then a partial response with wrong headers, then correct responses."""
    return RESET, with_headers(GOES_ON, on=206, **headers), GOES_ON


def wrong_place(request: Request) -> Reply:
    """Answer a range request with another range, labelled correctly."""
    if "range" not in request.headers:
        return GOES_ON(request)
    start = HALF - 1000
    headers = {"Content-Type": "video/mp4", "ETag": '"1"', "Content-Length": str(SIZE - start)}
    headers["Content-Range"] = f"bytes {start}-{SIZE - 1}/{SIZE}"
    return Reply(status=206, headers=headers, body=(GOOD[start:],), start=start)


FAULTS = (
    Fault("reset mid-body, once", (RESET, GOES_ON), once=True),
    Fault("FIN mid-body, once", (FIN, GOES_ON), once=True),
    Fault("short body without a length, once", (NO_LENGTH, GOES_ON), once=True),
    Fault("chunked without the last chunk, once", (chunked(cut(GOES_ON, HALF), terminated=False), GOES_ON), once=True),
    Fault(
        "six resets, each a bit further",
        (*(cut(GOES_ON, SIZE * n // 7, "reset") for n in range(1, 7)), GOES_ON),
        once=True,
    ),
    Fault("stall mid-body, once", (cut(GOES_ON, HALF, "stall"), GOES_ON), once=True),
    Fault("stall before the head, once", (lambda _: Reply(status=0, end="stall"), GOES_ON), once=True),
    Fault("slow but honest (32 KiB/s)", (drip(GOES_ON, 4096, 0.125),), once=True),
    Fault("206 that begins elsewhere", (RESET, wrong_place, GOES_ON), once=True),
    Fault("206 of another total", mangled(Content_Range=f"bytes {HALF}-{SIZE - 1}/{SIZE + 9}"), once=True),
    Fault("206 without Content-Range", mangled(Content_Range=None), once=True),
    Fault(
        "206 as multipart/byteranges",
        mangled(Content_Range=None, Content_Type="multipart/byteranges; boundary=x"),
        once=True,
    ),
    Fault("200 in place of the rest", (RESET, lambda _: GOES_ON(PLAIN)), once=True),
    Fault("416 in place of the rest", (RESET, refuse(416), GOES_ON), once=True),
    Fault("object changed, If-Range honoured", (RESET, NEW), once=True),
    Fault("object changed, If-Range ignored", (RESET, serve(CHANGED, '"2"', trusting=True)), once=True),
    Fault("object changed, weak ETag", (cut(serve(GOOD, WEAK), HALF, "reset"), WEAK_NEW), once=True),
    Fault("429 with Retry-After, once", (refuse(429, Retry_After="1"), GOES_ON), once=True),
    Fault("503, once", (refuse(503), GOES_ON), once=True),
    Fault("503 in place of the rest, once", (RESET, refuse(503), GOES_ON), once=True),
    Fault("reset mid-body, always", (RESET,)),
    Fault("FIN mid-body, always", (FIN,)),
    Fault("short body without a length, always", (NO_LENGTH,)),
    Fault("stall mid-body, always", (cut(GOES_ON, HALF, "stall"),)),
    Fault("drip (20 bytes a second)", (drip(GOES_ON, 1, 0.05),)),
    *(Fault(f"{status}, always", (refuse(status),)) for status in (403, 404, 410, 429, 503)),
    Fault("HTML", (serve(PAGE, kind="text/html"),)),
    Fault("HTML labelled video/mp4", (serve(PAGE),)),
    Fault("empty 200", (serve(b""),)),
    Fault("music (M4A) labelled video/mp4", (serve((MEDIA / "music.m4a").read_bytes()),)),
    Fault("more bytes than Content-Length", (with_headers(LONGER, Content_Length=str(SIZE)),)),
    Fault("more bytes than the file has, chunked", (chunked(LONGER),)),
    Fault("Content-Length of 10^15", (with_headers(GOES_ON, Content_Length=str(10**15)),)),
    Fault("Content-Length that is none", (with_headers(GOES_ON, Content_Length="-5"),)),
    Fault("gzip unasked", (with_headers(serve(ZIPPED), Content_Encoding="gzip"),)),
    Fault("redirect loop", (refuse(302, Location="/loop/a"),)),
    Fault("20 redirects", (refuse(302, Location="/hop/1"),)),
    Fault("redirect without Location", (refuse(302),)),
    Fault("truncated, its length right", (serve(GOOD[:HALF]),)),
    Fault("swapped halves", (serve(GOOD[HALF:] + GOOD[:HALF]),)),
    Fault(
        "zeros in place of the last quarter",
        (serve(GOOD[: -SIZE // 4] + bytes(SIZE - len(GOOD[: -SIZE // 4]))),),
    ),
)
