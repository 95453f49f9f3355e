"""Pictures of any file in, 8-bit RGB pictures out: the one normaliser between a benchmark's files and a processor.

Turned upright by EXIF, 16-bit grey scaled to 8 bits, every kind of transparency laid on white. No torch; Pillow on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.core.errors import attempt

if TYPE_CHECKING:
    from PIL import Image

_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}


def bomb() -> type[Exception]:
    """What is raised for a picture of more pixels than Pillow's limit."""
    from PIL import Image

    return Image.DecompressionBombError


def rgb(image: Image.Image) -> Image.Image:
    """The picture in RGB, upright and fully read.

    Transparent pixels become white: a black background would hide black ink. Raises `bomb()` for a picture of more pixels
    than Pillow's limit, ValueError for one whose values are no colours (floats, more than 16 bits), OSError if it is broken.
    """
    from PIL import Image as Pil
    from PIL import ImageOps

    pixels = image.width * image.height
    if Pil.MAX_IMAGE_PIXELS is not None and pixels > Pil.MAX_IMAGE_PIXELS:
        raise bomb()(f"{image.width} x {image.height} pixels, more than {Pil.MAX_IMAGE_PIXELS:,}")
    image.load()
    upright, _ = attempt(ImageOps.exif_transpose, image)
    image = image if upright is None else upright  # unreadable EXIF says nothing of the orientation
    if image.mode.startswith(("I", "F")):
        return _from_deep_grey(image)
    image = image.convert(_PREMULTIPLIED[image.mode]) if image.mode in _PREMULTIPLIED else image
    if image.mode in ("RGBA", "LA", "PA", "P") or "transparency" in image.info:
        return _on_white(image)
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    from PIL import Image as Pil

    clear = image.info.get("transparency")
    if isinstance(clear, tuple) and max(clear) > 255:  # of a file with 16 bits a channel, which is read as 8
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    rgba = image.convert("RGBA")
    return Pil.alpha_composite(Pil.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """16-bit grey, which Pillow would clip at 255 instead of scaling it."""
    import numpy as np
    from PIL import Image as Pil

    values: Any = np.asarray(image)
    if image.mode == "F" or values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise ValueError(f"its pixels (mode {image.mode}) are no grey values of at most 16 bits")
    grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return Pil.fromarray(grey).convert("RGB")
