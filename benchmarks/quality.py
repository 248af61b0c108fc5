"""What a picture costs in each codec of a session's quality: bytes, CPU, and how near it is to what the camera saw.

``python -m benchmarks.quality [--pictures 90]``
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import av
import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from actors.capture.video import TakeEncoder
from actors.devices.base import Frame
from actors.devices.testcard import TestCard
from domain.episode import Codec, Quality

WIDTH, HEIGHT, FPS = 640, 480, 30
NOISE = 3.0  # a sensor's, in steps of 255
Pictures = list[NDArray[np.uint8]]
QUALITIES = (Quality(), Quality(codec=Codec.AV1), Quality(gop_s=1.0), Quality(codec=Codec.AV1, gop_s=1.0))


def scenes(count: int) -> dict[str, Pictures]:
    """Pictures that are drawn, and two like a camera's: a soft scene that stands still or drifts, with a sensor's
    noise."""
    random, card = np.random.default_rng(0), TestCard(WIDTH, HEIGHT, 0)
    blobs = cv2.GaussianBlur(random.normal(0, 1, (60, 80, 3)).astype(np.float32), (0, 0), 1.5)
    scene = cv2.resize(blobs, (WIDTH + count, HEIGHT + count), interpolation=cv2.INTER_CUBIC)
    scene = 255 * (scene - scene.min()) / np.ptp(scene)

    def seen(at: int) -> NDArray[np.uint8]:
        part = scene[at : at + HEIGHT, at : at + WIDTH]
        return np.asarray(np.clip(part + random.normal(0, NOISE, part.shape), 0, 255), np.uint8)

    return {
        "drawn (test card)": [card.draw(number) for number in range(count)],
        "camera, still": [seen(0) for _ in range(count)],
        "camera, drifting": [seen(number // 2) for number in range(count)],
    }


def measured(pictures: Pictures, quality: Quality) -> tuple[float, float, float]:
    """Bytes and milliseconds of CPU a picture, and the PSNR of all in dB."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "take.mp4"
        began = time.process_time()
        encoder = TakeEncoder(path, WIDTH, HEIGHT, FPS, quality)
        for row, picture in enumerate(pictures):
            encoder.write(row, Frame(picture, "rgb24", row, row))
        encoder.close()
        cpu_ms = 1000 * (time.process_time() - began) / len(pictures)
        with av.open(str(path)) as container:
            shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        error = np.mean([np.mean((a.astype(float) - b) ** 2) for a, b in zip(pictures, shown, strict=True)])
        return path.stat().st_size / len(pictures), cpu_ms, float(10 * np.log10(255**2 / error))


def main(pictures: Annotated[int, typer.Option(min=FPS)] = 90) -> None:
    table = Table("scene", "codec", "keyframe every", "B a picture", "CPU ms a picture", "PSNR dB")
    for name, scene in scenes(pictures).items():
        for quality in QUALITIES:
            size, cpu_ms, psnr = measured(scene, quality)
            table.add_row(name, quality.codec, f"{quality.gop_s} s", f"{size:.0f}", f"{cpu_ms:.1f}", f"{psnr:.1f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
