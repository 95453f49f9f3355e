"""One normaliser of pictures: made files of every kind come out upright, in 8-bit RGB and on white."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.core.errors import ImageError
from harness.core.records import LazyImage

WHITE, RED = (255, 255, 255), (255, 0, 0)


def read(data: bytes) -> Image.Image:
    return LazyImage("made.png", lambda: Image.open(io.BytesIO(data))).open("7")


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, clear: bytes = b"") -> bytes:
    """A PNG file written by hand, of kinds that Pillow does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    mask = chunk(b"tRNS", clear) if clear else b""
    return b"\x89PNG\r\n\x1a\n" + head + mask + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture_upright(orientation: int) -> None:
    """Whatever way the camera was held, the red corner is where the photographer saw it."""
    upright = Image.new("RGB", (32, 16), "white")
    upright.paste(RED, (0, 0, 8, 8))
    turns = Image.Transpose
    stored = {
        1: None, 2: turns.FLIP_LEFT_RIGHT, 3: turns.ROTATE_180, 4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE, 6: turns.ROTATE_90, 7: turns.TRANSVERSE, 8: turns.ROTATE_270,
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read(saved(upright if stored is None else upright.transpose(stored), exif=exif))
    assert found.size == (32, 16) and found.mode == "RGB"
    assert found.getpixel((2, 2)) == RED
    assert {found.getpixel(p) for p in ((30, 2), (2, 14), (30, 14))} == {WHITE}


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    values = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    assert [read(saved(Image.fromarray(values))).getpixel((x, 0))[0] for x in range(3)] == [0, 100, 255]
    tiff = read(saved(Image.fromarray(values.astype(np.int32)), "TIFF"))
    assert [tiff.getpixel((x, 0))[0] for x in range(3)] == [0, 100, 255]


def test_16_bit_grey_with_a_clear_value() -> None:
    rows = b"\0" + struct.pack(">3H", 0, 25700, 65535)
    found = read(png(3, 1, 16, 0, rows, clear=struct.pack(">H", 0)))
    assert [found.getpixel((x, 0)) for x in range(3)] == [WHITE, (100, 100, 100), WHITE]


def test_16_bit_colours_with_a_clear_one() -> None:
    rows = b"\0" + struct.pack(">6H", 0, 0, 65535, 65535, 0, 0)
    found = read(png(2, 1, 16, 2, rows, clear=struct.pack(">3H", 0, 0, 65535)))
    assert [found.getpixel((x, 0)) for x in range(2)] == [WHITE, RED]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "La", "RGBa"])
def test_every_alpha_channel_lies_on_white(mode: str) -> None:
    """Clear, half clear and opaque black, whatever the picture's mode keeps of the colour below."""
    rgba = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        rgba.putpixel((x, 0), (0, 0, 0, alpha))
    image = rgba.convert({"La": "LA", "PA": "RGBA"}.get(mode, mode))
    if mode == "PA":
        image = Image.new("PA", (3, 1))
        image.putpalette([0, 0, 0] * 256)
        for x, alpha in enumerate((0, 128, 255)):
            image.putpixel((x, 0), (0, alpha))
    image = image.convert("La") if mode == "La" else image
    found = LazyImage("made", lambda: image).open("7")
    assert image.mode == mode and found.mode == "RGB"
    shades = [found.getpixel((x, 0))[0] for x in range(3)]
    assert shades[0] == 255 and shades[2] == 0 and abs(shades[1] - 127) <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
def test_a_clear_colour_becomes_white(mode: str) -> None:
    image = Image.new("RGB", (2, 1), "black")
    image.putpixel((1, 0), RED if mode in ("RGB", "P") else WHITE)
    image = image.convert(mode) if mode != "P" else image.convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    clear = {"RGB": (0, 0, 0), "P": image.getpixel((0, 0))}.get(mode, 0)
    found = read(saved(image, transparency=clear))
    assert found.getpixel((0, 0)) == WHITE
    assert found.getpixel((1, 0)) == (RED if mode in ("RGB", "P") else WHITE)


def test_a_decompression_bomb_names_its_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file claims 400 million pixels in a few hundred bytes; it is refused before anything is decoded."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png(20_000, 20_000, 1, 0, b"\0"))
    with pytest.raises(ImageError, match=r"item 7: image bomb\.png has too many pixels"):
        LazyImage("bomb.png", lambda: Image.open(path)).open("7")
    path.write_bytes(saved(Image.new("RGB", (20, 10))))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)  # beyond the limit Pillow itself only warns
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(ImageError, match=r"item 7: image bomb\.png has too many pixels \(20 x 10 pixels, more than 150"),
    ):
        LazyImage("bomb.png", lambda: Image.open(path)).open("7")


def test_values_that_are_no_colours_are_refused() -> None:
    for array in (np.array([[0.5]], dtype=np.float32), np.array([[-1]], np.int32), np.array([[70_000]], np.int32)):
        with pytest.raises(ImageError, match=r"item 7: image made is broken .*no grey values"):
            LazyImage("made", lambda a=array: Image.fromarray(a)).open("7")


def test_unreadable_exif_does_not_lose_the_picture() -> None:
    assert read(saved(Image.new("RGB", (4, 2), RED), "JPEG", exif=b"Exif\0\0MM\0*broken")).size == (4, 2)
