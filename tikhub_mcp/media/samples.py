"""The sample tables of a track in the index of an MP4 file (ISO/IEC 14496-12, 8.6 and 8.7)."""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.media.boxes import BoxReader, read_int, read_rows

MISSING = "its index names media that are not in the file: part of it is missing"


@dataclass(frozen=True, slots=True)
class SampleTables:
    """The tables of sizes and offsets of a track; each is the content of the box with its name, or empty."""

    stsz: memoryview
    stz2: memoryview
    stsc: memoryview
    stco: memoryview
    co64: memoryview

    @classmethod
    def read(cls, reader: BoxReader, stbl: memoryview) -> "SampleTables":
        """Return the tables in a `stbl` box."""
        return cls(*reader.pick(stbl, b"stsz", b"stz2", b"stsc", b"stco", b"co64"))

    def count(self, starts: "array[int]", ends: "array[int]") -> int:
        """Return the number of samples.

        Every chunk must start in an mdat, and the last chunk must end in it. This detects truncation even if the mdat
        has no size of its own.

        Args:
            starts: The file offsets at which the content of each mdat starts.
            ends: The file offsets at which it ends.

        Raises:
            MediaInvalid: They do not, or a table is damaged.
        """
        samples, room = read_int(self.stsz or self.stz2, 8), 0
        for chunk in self._chunks():
            mdat = bisect_right(starts, chunk) - 1
            room = ends[mdat] - chunk if mdat >= 0 else 0
            if room <= 0:
                raise MediaInvalid(MISSING)
        if self._last_chunk(samples) > room:
            raise MediaInvalid(MISSING)
        return samples if room else 0

    def places(self) -> Iterator[tuple[int, int]]:
        """Yield the file offset and the size of each sample; nothing if all have the same size, as in audio tracks."""
        if not self.stsz or not self.stsc or read_int(self.stsz, 4):
            return
        sizes = (size for (size,) in read_rows(self.stsz, 12, read_int(self.stsz, 8), ">I"))
        runs = read_rows(self.stsc, 8, read_int(self.stsc, 4), ">III")
        run, inside = next(runs, None), 0  # the next run of chunks, and the samples in a chunk
        for number, at in enumerate(self._chunks(), 1):
            while run and run[0] <= number:
                inside, run = run[1], next(runs, None)
            yield from in_a_row(at, islice(sizes, inside))

    def _chunks(self) -> Iterator[int]:
        """Yield the file offset of each chunk."""
        table, form = (self.co64, ">Q") if self.co64 else (self.stco, ">I")
        return (offset for (offset,) in read_rows(table, 8, read_int(table, 4), form))

    def _last_chunk(self, samples: int) -> int:
        """Return the size of the last chunk in bytes; 0 if it is not known, as with the rare stz2."""
        entries = read_int(self.stsc, 4)
        if not entries or not self.stsz:
            return 0
        inside = min(read_int(self.stsc, 12 * entries), samples)  # samples_per_chunk of the last entry
        each = read_int(self.stsz, 4)  # sample_size; 0 if a table of sizes follows
        return each * inside or sum(size for (size,) in read_rows(self.stsz, 12 + 4 * (samples - inside), inside, ">I"))


def in_a_row(at: int, sizes: Iterator[int]) -> Iterator[tuple[int, int]]:
    """Yield the file offset and the size of samples that follow one another from the offset `at`."""
    for size in sizes:
        yield at, size
        at += size
