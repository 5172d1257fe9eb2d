"""Makes small pictures in every format that is verified: noise over a gradient, so that all of the file is data."""

import random
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()

SIZE = (117, 83)  # not a multiple of any block
_GRAY = Image.linear_gradient("L").resize(SIZE)


def noise(mode: str = "RGB", seed: int = 1) -> Image.Image:
    """A picture of SIZE."""
    grain = Image.frombytes("RGBA", SIZE, random.Random(seed).randbytes(4 * SIZE[0] * SIZE[1]))
    return Image.blend(grain, _GRAY.convert("RGBA"), 0.6).convert(mode)


def saved(picture: Image.Image, form: str, **options: Any) -> bytes:  # noqa: ANN401 - as Pillow takes them
    """The bytes of a picture, as Pillow writes it."""
    file = BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def interlaced() -> bytes:
    """A PNG of seven passes, which Pillow reads and cannot write."""
    picture, rows = noise(), b""
    for x, y, dx, dy in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        for row in range(y, SIZE[1], dy):
            pixels = picture.crop((0, row, SIZE[0], row + 1)).tobytes()
            rows += b"\0" + b"".join(pixels[3 * column : 3 * column + 3] for column in range(x, SIZE[0], dx))
    header = struct.pack(">IIBBBBB", *SIZE, 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def with_thumbnail() -> bytes:
    """A JPEG that has another whole one in its EXIF."""
    thumbnail = saved(noise().resize((40, 30)), "JPEG")
    first = struct.pack(">2sHIHI", b"MM", 42, 8, 0, 14)  # no fields in the first list; the second one follows
    fields = struct.pack(">HHHIIHHIII", 2, 0x201, 4, 1, 14 + 30, 0x202, 4, 1, len(thumbnail), 0)
    return saved(noise(), "JPEG", exif=b"Exif\0\0" + first + fields + thumbnail)


def box(kind: bytes, *content: bytes) -> bytes:
    """A box of ISO/IEC 14496-12."""
    inside = b"".join(content)
    return struct.pack(">I4s", 8 + len(inside), kind) + inside


def grid(*transforms: bytes, in_idat: bool = True, rows: int = 2, columns: int = 3) -> bytes:
    """A HEIC of SIZE made of tiles of 64 pixels, as phones write them, all of which have the same data."""
    tile = saved(noise().resize((64, 64)), "HEIF")
    at = tile.index(b"hvcC") - 4
    hvcc = tile[at : at + struct.unpack_from(">I", tile, at)[0]]
    data = tile[tile.index(b"mdat") + 4 :]
    tiles = range(2, 2 + rows * columns)
    head = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *SIZE)
    names = [(1, b"grid"), *((number, b"hvc1") for number in tiles)]
    infes = [box(b"infe", b"\2\0\0\0", struct.pack(">HH4s", number, 0, kind), b"\0") for number, kind in names]
    sizes = [box(b"ispe", bytes(4), struct.pack(">II", *size)) for size in (SIZE, (64, 64))]
    own = bytes([1, *range(4, 4 + len(transforms))])
    shared = b"".join(struct.pack(">HBBB", number, 2, 0x82, 3) for number in tiles)
    ipma = struct.pack(">IIHB", 0, 1 + len(tiles), 1, len(own)) + own + shared

    def file(media: int) -> bytes:
        places = [
            (1, 1, 0, 8) if in_idat else (1, 0, media, 8),
            *((number, 0, media + 8, len(data)) for number in tiles),
        ]
        ilocs = [struct.pack(">HHHHII", item, method, 0, 1, start, size) for item, method, start, size in places]
        meta = box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", bytes(4), struct.pack(">H", 1)),
            box(b"iinf", bytes(4), struct.pack(">H", len(infes)), *infes),
            box(b"iref", bytes(4), box(b"dimg", struct.pack(f">HH{len(tiles)}H", 1, len(tiles), *tiles))),
            box(b"iprp", box(b"ipco", sizes[0], hvcc, sizes[1], *transforms), box(b"ipma", ipma)),
            box(b"iloc", b"\1\0\0\0", struct.pack(">HH", 0x4400, len(ilocs)), *ilocs),
            box(b"idat", head) if in_idat else b"",
        )
        return box(b"ftyp", b"heic", bytes(4), b"mif1heic") + meta + box(b"mdat", head, data)

    return file(len(file(0)) - 8 - len(data))


def _frames(**options: Any) -> bytes:  # noqa: ANN401
    return saved(noise("RGBA"), "WEBP", save_all=True, append_images=[noise("RGBA", 2), noise("RGBA", 3)], **options)


PICTURES: dict[str, Callable[[], bytes]] = {
    "JPEG baseline": lambda: saved(noise(), "JPEG"),
    "JPEG 4:4:4": lambda: saved(noise(), "JPEG", subsampling=0),
    "JPEG 4:2:2": lambda: saved(noise(), "JPEG", subsampling=1),
    "JPEG gray": lambda: saved(noise("L"), "JPEG"),
    "JPEG CMYK": lambda: saved(noise("CMYK"), "JPEG"),
    "JPEG flat": lambda: saved(Image.new("RGB", (1000, 700)), "JPEG", optimize=True),
    "JPEG flat progressive": lambda: saved(Image.new("RGB", (1000, 700)), "JPEG", progressive=True),
    "JPEG progressive": lambda: saved(noise(), "JPEG", progressive=True),
    "JPEG progressive gray": lambda: saved(noise("L"), "JPEG", progressive=True),
    "JPEG restarts": lambda: saved(noise(), "JPEG", restart_marker_blocks=1),
    "JPEG progressive restarts": lambda: saved(noise(), "JPEG", progressive=True, restart_marker_rows=1),
    "JPEG thumbnail": with_thumbnail,
    "JPEG metadata": lambda: saved(noise(), "JPEG", icc_profile=bytes(90_000), comment=b"\xff\xd9", dpi=(72, 72)),
    "WebP lossy": lambda: saved(noise(), "WEBP"),
    "WebP lossless": lambda: saved(noise(), "WEBP", lossless=True),
    "WebP alpha": lambda: saved(noise("RGBA"), "WEBP"),
    "WebP lossless alpha": lambda: saved(noise("RGBA"), "WEBP", lossless=True),
    "WebP metadata": lambda: saved(noise(), "WEBP", icc_profile=bytes(99), exif=b"Exif\0\0MM\0*", xmp=b"<x/>"),
    "WebP animated": lambda: _frames(duration=100),
    "WebP animated lossless": lambda: _frames(duration=100, lossless=True),
    "PNG": lambda: saved(noise(), "PNG"),
    "PNG alpha": lambda: saved(noise("RGBA"), "PNG", compress_level=0),
    "PNG gray alpha": lambda: saved(noise("LA"), "PNG"),
    "PNG interlaced": interlaced,
    "PNG palette": lambda: saved(noise().quantize(13), "PNG", bits=4),
    "PNG one bit": lambda: saved(noise("1"), "PNG"),
    "PNG 16 bits": lambda: saved(noise("L").convert("I;16"), "PNG"),
    "PNG animated": lambda: saved(noise(), "PNG", save_all=True, append_images=[noise(seed=2)]),
    "HEIC": lambda: saved(noise(), "HEIF"),
    "HEIC lossless 4:4:4": lambda: saved(noise(), "HEIF", quality=-1, chroma=444),
    "HEIC alpha": lambda: saved(noise("RGBA"), "HEIF"),
    "HEIC with EXIF": lambda: saved(noise(), "HEIF", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"),
    "HEIC of two": lambda: saved(noise(), "HEIF", save_all=True, append_images=[noise(seed=2).resize((90, 70))]),
    "HEIC grid": grid,
    "HEIC grid in mdat": lambda: grid(in_idat=False),
    "HEIC grid rotated": lambda: grid(box(b"irot", b"\1")),
    "HEIC grid upside down": lambda: grid(box(b"irot", b"\2")),
    "HEIC grid cropped and rotated": lambda: grid(
        box(b"clap", struct.pack(">8I", 100, 1, 60, 1, 0, 1, 0, 1)), box(b"irot", b"\3")
    ),
}
