"""Videos encoded anew so that training reads them quickly: small pictures, regular keyframes, no sound."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction

import av

from mutualnet3d.video.container import VideoContainer, open_file
from mutualnet3d.video.decoder import Decoder
from mutualnet3d.video.errors import decoder_errors
from mutualnet3d.video.frame_rate import rate_fraction
from mutualnet3d.video.orientation import orientation_of
from mutualnet3d.video.picture import upright_pixel_aspect, upright_yuv420
from mutualnet3d.video.reader import VideoReader
from mutualnet3d.video.writer import colours_of, open_video_writer

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


@dataclass(frozen=True)
class Encoding:
    """Size and quality of encoded videos.

    Args:
        short_side: short side of the pictures, in pixels, at most; even. Smaller ones keep their size.
        keyframe_every: frames from a keyframe to the next: a reader decodes that many at most before the one it needs.
        crf: x264's quality, 0 (without loss) to 51. Its default, 23, is what Kinetics is commonly resized with, so that
            accuracies compare.
        preset: x264's speed, one of `PRESETS`; likewise.

    Raises:
        ValueError: a value is out of range.
    """

    short_side: int = 256
    keyframe_every: int = 12
    crf: int = 23
    preset: str = "medium"

    def __post_init__(self) -> None:
        if self.short_side < 2 or self.short_side % 2:
            raise ValueError(f"short_side is {self.short_side}; allowed: even, 2 or more")
        if self.keyframe_every < 1:
            raise ValueError(f"keyframe_every is {self.keyframe_every}; allowed: 1 or more")
        if not 0 <= self.crf <= 51:
            raise ValueError(f"crf is {self.crf}; allowed: 0 to 51")
        if self.preset not in PRESETS:
            raise ValueError(f"preset is {self.preset!r}; allowed: {', '.join(PRESETS)}")

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height of the new pictures of a video: even, none larger, the aspect kept to a pixel."""
        short = min(width, height)
        if short <= self.short_side:
            return max(width // 2 * 2, 2), max(height // 2 * 2, 2)
        return (
            2 * round(Fraction(width * self.short_side, 2 * short)),
            2 * round(Fraction(height * self.short_side, 2 * short)),
        )

    def options(self) -> dict[str, str]:
        """Return the options of libx264.

        Keyframes stand every `keyframe_every` frames, nowhere else, and nothing refers across them.
        """
        every = self.keyframe_every
        params = f"keyint={every}:min-keyint={every}:scenecut=0:open-gop=0:threads=1:lookahead-threads=1"
        return {"crf": str(self.crf), "preset": self.preset, "x264-params": params}


def transcode(source: str, target: str, encoding: Encoding) -> int:
    """Encode the video `source` anew to `target`, H.264 in mp4, without its sound; whole or absent.

    Frames keep their times (from the first one on, evenly spaced or not) and their colours' meaning; pictures are
    turned upright. Packets that cannot be decoded give no frame, as in training. One thread.

    Args:
        source: path of the video.
        target: path of the new file.
        encoding: size and quality of the new video.

    Returns:
        Number of damages: packets that could not be decoded, and frames in which errors are concealed.

    Raises:
        VideoDecodeError: the video is no video, or has no frame that can be decoded.
        OSError: `target` cannot be written.
        ValueError, VideoEncodeError: the encoder refuses the pictures.
    """
    with VideoReader(source) as video:
        # The header's rate may be far off, and the encoder spends its bits by it. Frames have their own times anyway.
        fps = video.info.fps
    with decoder_errors(source):
        container = open_file(source)
    decoder, num_concealed = Decoder(container), 0
    with container, closing(_decoded(container, decoder)) as frames:
        first = next(frames, None)
        if first is None:
            with decoder_errors(source):
                raise decoder.nothing_decoded()
        size = encoding.size(first.width, first.height)
        size = size[::-1] if orientation_of(first).swaps_sides else size
        first_time = _time_of(container, first) or 0
        with open_video_writer(
            target,
            fps,
            options=encoding.options(),
            time_base=first.time_base or 1 / rate_fraction(fps),
            colours=colours_of(first),
        ) as writer:
            # The pixels' aspect is kept, not evened out: readers that know no such thing see the same pictures.
            pixel_aspect = upright_pixel_aspect(container.stream, first)
            for frame in itertools.chain([first], frames):
                time = _time_of(container, frame)
                writer.write_frame(
                    upright_yuv420(frame, size), None if time is None else time - first_time, pixel_aspect
                )
                num_concealed += frame.is_corrupt
    return decoder.num_errors + num_concealed


def _time_of(container: VideoContainer, frame: av.VideoFrame) -> int | None:
    """Return the time at which a frame is shown, but for a constant; None: it goes on from the frame before."""
    # Without times of being shown: that of decoding the packet after which the frame came out.
    return frame.pts if container.has_times else frame.dts


def _decoded(container: VideoContainer, decoder: Decoder) -> Generator[av.VideoFrame]:
    """Yield all frames that can be decoded; an error of the file is a `VideoDecodeError`."""
    with decoder_errors(container.name):
        yield from decoder.all_frames(container.packets())
