"""The TAKE encoder's file: one access unit a row, in fragments that survive kill -9; and reading it back."""

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray

from actors.devices.base import Frame
from domain.episode import Codec, Quality
from domain.errors import Conflict, DeviceError, Invalid

CRASH_SAFE = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
PIXELS_A_SECOND_A_THREAD = 25_000_000
# Neither looks ahead nor holds a picture back. (SVT-AV1's guide: pred-struct 1 is low delay, lp its threads.)
_ENCODERS = {
    Codec.H264: ("libx264", {"preset": "veryfast", "crf": "23", "tune": "zerolatency", "bf": "0"}),
    Codec.AV1: ("libsvtav1", {"preset": "10", "crf": "32", "svtav1-params": "pred-struct=1:lookahead=0:scd=0:lp=2"}),
}
os.environ.setdefault("SVT_LOG", "1")  # errors only: it would tell the console of every take


def even(size: int) -> int:
    """The next even number: 4:2:0 pictures have no odd sizes, so the last row or column is doubled."""
    return size + size % 2


def even_picture(frame: Frame) -> NDArray[np.uint8]:
    """(even(height), even(width), 3) uint8 in the frame's channel order (RGB for gray): the picture as a dataset shows
    it, for whoever must see what training saw. A view if nothing had to be added."""
    image = frame.image if frame.image.ndim == 3 else np.repeat(frame.image[:, :, None], 3, axis=2)
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(image)


class TakeEncoder:
    """Encodes one picture a row into a fragmented MP4. No B-frames and no look-ahead: a row is out when it is in."""

    def __init__(self, path: Path, width: int, height: int, fps: int, quality: Quality) -> None:
        """``width`` and ``height`` of the camera's pictures; the file's are the next even ones."""
        path.touch(exist_ok=False)
        self._size = (height, width)
        self._tick = Fraction(1, fps)
        self._container = av.open(str(path), "w", format="mp4", options=CRASH_SAFE)
        encoder, options = _ENCODERS[quality.codec]
        crf = {} if quality.crf is None else {"crf": str(quality.crf)}
        options = options | crf | {"g": str(quality.gop_rows(fps))}
        self._stream = cast("VideoStream", self._container.add_stream(encoder, rate=fps, options=options))
        self._stream.pix_fmt = "yuv420p"
        self._stream.width, self._stream.height = even(width), even(height)
        context = self._stream.codec_context
        context.time_base = self._tick
        context.colorspace, context.color_range = Colorspace.SMPTE170M, ColorRange.MPEG
        context.thread_count = min(4, math.ceil(width * height * fps / PIXELS_A_SECOND_A_THREAD))

    def write(self, row: int, frame: Frame) -> None:
        """Encode the row's picture. Raises DeviceError if the camera's pictures changed size, OSError by the disk."""
        if frame.image.shape[:2] != self._size:
            raise DeviceError(
                "The camera changed its picture size while recording. Discard the episode, start a new one."
            )
        channels = "bgr24" if frame.pixel_format == "bgr24" else "rgb24"
        picture = av.VideoFrame.from_ndarray(even_picture(frame), format=channels).reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG
        )
        picture.pts, picture.time_base, picture.duration = row, self._tick, 1
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Write out what the encoder holds; the file is closed even when that fails."""
        with ExitStack() as closing:
            closing.callback(self._container.close)
            self._container.mux(self._stream.encode(None))


def whole_rows(path: Path, fps: int) -> int:
    """How many access units a take's video holds from row 0 on, in order and untorn; 0 if there is no such file."""
    try:
        with _reading(_untorn(path)) as container:
            return sum(1 for _ in _rows(container, fps))
    except (FileNotFoundError, Invalid):
        return 0


def whole_pictures(path: Path, fps: int) -> int:
    """How many rows of a video can be decoded without an error from row 0 on; 0 if it is no video, or is not there.

    A picture that was changed so that it still decodes passes: whoever must know compares the file's sha256."""
    try:
        with _reading(_untorn(path)) as container:
            return _decoded(container, fps)
    except (FileNotFoundError, Invalid):
        return 0


def _decoded(container: av.container.InputContainer, fps: int) -> int:
    """One thread, so that an error comes with the packet that has it."""
    rows = 0
    for stream in container.streams.video[:1]:
        if stream.codec_context is None:  # what is said of the stream is damaged
            return 0
        # For AV1's decoder the second: with more threads it gives a picture two packets later.
        stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
        with suppress(av.error.FFmpegError):
            for packet in chain(_rows(container, fps), [None]):
                for frame in stream.decode(packet):
                    if frame.is_corrupt or round((frame.pts or 0) * Fraction(stream.time_base or 1) * fps) != rows:
                        return rows
                    rows += 1
    return rows


def _untorn(path: Path) -> str:
    """FFmpeg's name for a take's video up to where it is torn. Torn pictures (``mdat``) hide only themselves, but a
    torn index (``moof``) would hide the whole file."""
    size = path.stat().st_size
    end = 0
    with path.open("rb") as file:
        while end < size:
            file.seek(end)
            length, kind = int.from_bytes(file.read(4), "big"), file.read(4)
            if length < 8 or (end + length > size and kind != b"mdat"):
                break
            end = min(size, end + length)
    return f"subfile,,start,0,end,{end},,:{path}"


def _rows(container: av.container.InputContainer, fps: int) -> Iterator[av.Packet]:
    """The packets of rows 0, 1, 2 …; stops at the first that is torn or out of order."""
    for row, packet in enumerate(_packets(container)):
        if packet.size == 0 or packet.is_corrupt or packet.pts is None:
            return
        if round(packet.pts * packet.time_base * fps) != row:
            return
        yield packet


def _packets(container: av.container.InputContainer) -> Iterator[av.Packet]:
    try:
        yield from container.demux(container.streams.video)
    except av.error.InvalidDataError:  # the tear that a kill left
        return


def cut(source: Path, target: Path, rows: int, fps: int) -> None:
    """Copy the first ``rows`` access units, without re-encoding, into a plain MP4 with its index in front (players
    seek in it, and a browser can ask for ranges). Raises Conflict if there are fewer."""
    count = 0
    with _reading(_untorn(source)) as taken, av.open(str(target), "w", options={"movflags": "faststart"}) as kept:
        stream = kept.add_stream_from_template(taken.streams.video[0], opaque=True)
        for packet in islice(_rows(taken, fps), rows):
            # Not every encoder says how long a picture is shown, and players drop what lies behind a video's end.
            packet.duration = round(1 / (fps * packet.time_base))
            packet.stream = stream
            kept.mux(packet)
            count += 1
    if count < rows:
        raise Conflict(f"A camera's video holds {count} pictures, but {rows} rows were recorded. Keep what is whole.")


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a video's pictures."""
    with _reading(path) as container:
        return container.streams.video[0].width, container.streams.video[0].height


def keyframes(path: Path, at_most: int = 100) -> Iterator[NDArray[np.uint8]]:
    """Keyframes spread over a whole video, (height, width, 3) uint8 RGB each: enough for statistics, at a bounded cost.

    Raises Invalid if one of them cannot be decoded."""
    with _reading(path) as container:
        stream = container.streams.video[0]
        for packet in _spread(container.demux(stream), stream.frames / at_most):
            for frame in stream.decode(packet):
                yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def first_picture(path: Path) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB. Raises Invalid if the video does not begin with one that can be decoded."""
    with _reading(path) as container:
        for stream in container.streams.video[:1]:
            for frame in container.decode(stream):
                return frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    raise Invalid("A camera's video holds no picture. Delete the episode.")


def _spread(packets: Iterable[av.Packet], distance: float) -> Iterator[av.Packet | None]:
    """The keyframes that are at least ``distance`` packets apart; then None, which empties the decoder."""
    due = 0.0
    for number, packet in enumerate(packets):
        if packet.is_keyframe and number >= due:
            due = number + distance
            yield packet
    yield None


def last_row(path: Path, fps: int) -> int:
    """The row of a video's last picture, decoded from the last keyframe on; -1 if it has none. Raises Invalid."""
    with _reading(path) as container:
        stream = container.streams.video[0]
        container.seek(stream.duration or 0, stream=stream, backward=True)
        shown = [frame.pts for frame in container.decode(stream) if frame.pts is not None]
        return round(shown[-1] * Fraction(stream.time_base or 1) * fps) if shown else -1


@contextmanager
def _reading(path: Path | str) -> Iterator[av.container.InputContainer]:
    """An open video. Raises Invalid if it cannot be read as one, OSError if the disk is to blame."""
    try:
        with av.open(str(path), metadata_errors="replace") as container:  # a damaged file's may be no text
            yield container
    except av.error.FFmpegError as error:  # a damaged file can ask for any: more memory than there is, for one
        if isinstance(error, OSError):
            raise
        raise Invalid("A camera's video cannot be decoded. Discard the episode.") from error
