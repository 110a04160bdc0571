"""Commands that show a model at work: on a video, and inside."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from streetseg.cli.option_groups import option_groups
from streetseg.cli.options import (
    PARAMS,
    ModelUri,
    Overrides,
    ParamsFile,
    app,
    load,
    locate_model,
)
from streetseg.core.errors import StreetsegError


@dataclass(frozen=True)
class VideoFlags:
    """Options of the command ``video``."""

    opacity: Annotated[float, typer.Option(min=0, max=1, help="Opacity of the colours.")] = 0.5
    legend: Annotated[
        bool, typer.Option(help="Strip below with the categories and their fractions.")
    ] = True
    stamp: Annotated[
        bool, typer.Option("--stamp", help="Write the model's version on every frame.")
    ] = False
    smoothing: Annotated[
        float,
        typer.Option(help="Weight of previous frames, 0 to below 1; lags by w / (1 - w) frames."),
    ] = 0.0
    fps: Annotated[
        float | None,
        typer.Option(min=0.1, max=240, help="Rate of a folder of frames. Default: 25."),
    ] = None
    masks: Annotated[
        Path | None, typer.Option(help="Folder for the masks: category ids as 000001.png, ...")
    ] = None


@app.command()
@option_groups
def video(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="MP4, MOV, AVI, WebM, MKV, GIF, or a folder of frames."),
    ],
    destination: Annotated[Path, typer.Argument(metavar="OUT", help=".mp4, .gif, or a folder.")],
    flags: VideoFlags,
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    model: ModelUri = None,
) -> None:
    """Segment a video, and write it with the categories in colour.

    Frame rate and size are kept, sound is dropped. MP4 files are MPEG-4 Part 2, which players show
    but browsers do not. A folder gets one PNG per frame. OUT is replaced when the new file is
    complete. Of a truncated video the readable part is written, with a warning.

    Smoothing averages over the frames of a scene: less flicker, but masks lag behind.

    Example: streetseg video drive.mp4 drive_segmented.mp4 --opacity 0.5
    """
    from streetseg.inference.segmenter import Segmenter
    from streetseg.prediction.video import VideoOptions, segment_video

    settings = load(params, set_)
    uri, artifact = locate_model(model, settings)
    segmenter = Segmenter(artifact)
    options = VideoOptions(
        opacity=flags.opacity,
        legend=flags.legend,
        stamp=uri.removeprefix("models:/") if flags.stamp else "",
        smoothing=flags.smoothing,
        rate=flags.fps,
        masks=flags.masks,
    )
    result = segment_video(source, destination, segmenter, options)
    if result.cut_off:
        print(
            f"warning: {source} seems cut off: {result.frames} of {result.expected_frames} frames "
            "could be read",
            file=sys.stderr,
        )
    print(
        f"{result.destination}: {result.frames} frames at {result.rate:g} frames/s, segmented at "
        f"{result.frames_per_second:.1f} frames/s on {segmenter.device}"
    )


@app.command()
def attention(
    image: Annotated[Path, typer.Argument(help="Image: PNG, JPEG or WebP.")],
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    model: ModelUri = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="X,Y", help="The query pixel; the centre by default."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("outputs/attention.png"),
) -> None:
    """Draw the attention of a SegFormer for one pixel: a heat map of each attention head.

    For SegFormer and any architecture on an encoder mit_b0 to mit_b5.

    Example: streetseg attention street.jpg --at 512,300
    """
    from streetseg.images.decode import read_image

    settings = load(params, set_)
    rgb = read_image(image)
    pixel = _pixel(at) if at else (rgb.shape[1] // 2, rgb.shape[0] // 2)
    from streetseg.prediction.attention import (  # slow to import, so after the quick checks
        attend,
        write_attention,
    )

    _, artifact = locate_model(model, settings)
    stages = attend(artifact, rgb, pixel)
    write_attention(rgb, pixel, stages, out)
    print(out)


def _pixel(text: str) -> tuple[int, int]:
    try:
        x, y = (int(part) for part in text.split(","))
    except ValueError:
        raise StreetsegError(f"--at {text}: give x,y in pixels, such as 320,200") from None
    return x, y
