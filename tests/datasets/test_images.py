"""Images of any kind become arrays as documented, or are refused by name."""

from __future__ import annotations

import io
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays
from PIL import Image

from sweeper.catalog.datasets.images import Preparation, prepared, prepared_mask, read

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV")
RESIZES = ("crop", "resize", "scale_width", "scale_width_and_crop", "none")

sides = some.integers(1, 40)
seeds = some.integers(0, 2**32 - 1)


def pixels(height: int, width: int, *channels: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (height, width, *channels), dtype=np.uint8)


def of_mode(mode: str, array: np.ndarray) -> Image.Image:
    """Colours of (H, W, 4) as an image of some mode."""
    image = Image.fromarray(array)
    steps = {"PA": ("P", "PA"), "HSV": ("RGB", "HSV")}
    steps |= {"YCbCr": ("RGB", "YCbCr"), "CMYK": ("RGB", "CMYK"), "LA": ("LA",)}
    for step in steps.get(mode, (mode,)):
        image = image.convert(step)
    return image


def encoded(image: Image.Image, format: str, **more: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **more)
    return file.getvalue()


def decoded(data: bytes, channels: int = 3, size: int = 8) -> np.ndarray:
    """As it is in the file."""
    return read(lambda: data, "a.png", Preparation(size, channels, "none").image)


@given(
    mode=some.sampled_from(MODES),
    height=sides,
    width=sides,
    channels=some.sampled_from((1, 3)),
    resize=some.sampled_from(RESIZES),
    size=some.integers(4, 20),
    seed=seeds,
)
def test_any_mode_and_shape_has_the_shape_that_is_documented(
    mode: str, height: int, width: int, channels: int, resize: str, size: int, seed: int
) -> None:
    image = of_mode(mode, pixels(height, width, 4, seed=seed))
    scaled = max(1, round(size * height / width))
    expected = {
        "crop": (size, size),
        "resize": (size, size),
        "scale_width": (scaled, size),
        "scale_width_and_crop": (size, size),
        "none": (height, width),
    }[resize]
    if resize == "scale_width_and_crop" and scaled < size:
        with pytest.raises(ValueError, match=f"at least as high.*{width} x {height}"):
            prepared(image, size, channels, resize)
        return
    array = prepared(image, size, channels, resize)
    assert array.shape == (channels, *expected)
    assert array.dtype == np.uint8


@pytest.mark.parametrize(
    ("resize", "shape"),
    [("scale_width", (330, 600)), ("crop", (600, 600)), ("none", (1052, 1914))],
)
def test_sizes_are_those_of_pix2pix(resize: str, shape: tuple[int, int]) -> None:
    image = Image.new("L", (1914, 1052), 7)
    array = prepared(image, 600, 1, resize)  # type: ignore[arg-type]
    assert array.shape == (1, *shape)
    assert np.all(array == 7)


@given(array=arrays(np.uint8, some.tuples(sides, sides, some.just(3))))
def test_colours_that_are_not_resized_are_kept(array: np.ndarray) -> None:
    expected = array.transpose(2, 0, 1)
    assert np.array_equal(prepared(Image.fromarray(array), 8, 3, "none"), expected)
    assert np.array_equal(decoded(encoded(Image.fromarray(array), "PNG")), expected)


def test_what_is_shrunk_is_antialiased() -> None:
    # Every second column white: without antialiasing, a quarter of the size is black or white.
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    array = prepared(Image.fromarray(stripes), 16, 1, "resize")
    assert abs(int(array[:, :, 2:-2].mean()) - 127) <= 2
    assert array[:, :, 2:-2].std() < 8


@given(array=arrays(np.uint8, some.tuples(sides, sides, some.just(4))))
def test_what_is_transparent_lies_on_white(array: np.ndarray) -> None:
    alpha = array[..., 3:].astype(float) / 255
    expected = (array[..., :3] * alpha + 255 * (1 - alpha)).transpose(2, 0, 1)
    found = decoded(encoded(Image.fromarray(array), "PNG"))
    assert np.abs(found - expected).max() <= 1


@given(
    levels=arrays(np.uint8, some.tuples(sides, sides), elements=some.integers(0, 7)),
    palette=arrays(np.uint8, (8, 3)),
    clear=some.none() | some.integers(0, 7) | some.binary(min_size=1, max_size=8),
    format=some.sampled_from(["PNG", "GIF"]),
)
def test_palettes_are_looked_up_and_their_transparent_colours_are_white(
    levels: np.ndarray, palette: np.ndarray, clear: int | bytes | None, format: str
) -> None:
    if format == "GIF" and isinstance(clear, bytes):
        clear = clear[0] % 8
    image = Image.fromarray(levels).convert("P")
    image.putpalette(palette.tobytes())
    image.putdata(levels.flatten().tolist())
    more = {} if clear is None else {"transparency": clear}
    alpha = np.full(8, 255)
    if isinstance(clear, int):
        alpha[clear] = 0
    elif clear is not None:
        alpha[: len(clear)] = np.frombuffer(clear, np.uint8)
    shown = palette * (alpha[:, None] / 255) + 255 * (1 - alpha[:, None] / 255)
    data = encoded(image, format, **more, **({"optimize": False} if format == "GIF" else {}))
    found = decoded(data)
    assert np.abs(found - shown[levels].transpose(2, 0, 1)).max() <= 1


@given(
    levels=arrays(np.uint16, some.tuples(sides, sides)),
    format=some.sampled_from(["PNG", "TIFF", "PPM", "JPEG2000"]),
    channels=some.sampled_from((1, 3)),
)
def test_grey_of_16_bits_is_scaled(levels: np.ndarray, format: str, channels: int) -> None:
    found = decoded(encoded(Image.fromarray(levels), format), channels)
    assert found.shape == (channels, *levels.shape)
    for channel in found:
        assert np.array_equal(channel, np.rint(levels / 257))


def test_a_transparent_level_of_16_bits_is_white() -> None:
    levels = np.array([[0, 300, 65535]], np.uint16)
    data = encoded(Image.fromarray(levels), "PNG", transparency=300)
    assert decoded(data, 1).tolist() == [[[0, 255, 255]]]


@given(levels=arrays(np.int32, (2, 3), elements=some.integers(-10, 70_000)))
def test_integers_are_16_bits_or_refused(levels: np.ndarray) -> None:
    image = Image.fromarray(levels)
    if levels.min() < 0 or levels.max() > 65535:
        with pytest.raises(ValueError, match=r"of integers has levels from 0 to 65535, but this"):
            prepared(image, 8, 1, "none")
    else:
        assert np.array_equal(prepared(image, 8, 1, "none")[0], np.rint(levels / 257))


@given(levels=arrays(np.float32, (3, 2), elements=some.floats(-0.5, 1.5, width=32)))
def test_floats_are_from_0_to_1_or_refused(levels: np.ndarray) -> None:
    data = encoded(Image.fromarray(levels), "TIFF")
    if levels.min() < 0 or levels.max() > 1:
        with pytest.raises(ValueError, match=r"a\.png cannot: .* of floats has levels from 0 to 1"):
            decoded(data, 1)
    else:
        assert np.array_equal(decoded(data, 1)[0], np.rint(levels * 255))


@pytest.mark.parametrize("level", [np.nan, np.inf])
def test_levels_that_are_no_number_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match="levels from 0 to 1"):
        prepared(Image.fromarray(np.array([[0, level]], np.float32)), 8)


@given(bits=arrays(np.bool_, some.tuples(sides, sides)))
def test_one_bit_is_black_or_white(bits: np.ndarray) -> None:
    assert np.array_equal(decoded(encoded(Image.fromarray(bits), "PNG"), 1)[0], bits * 255)


@given(array=arrays(np.uint8, some.tuples(sides, sides, some.just(4))))
def test_cmyk_is_ink_on_white(array: np.ndarray) -> None:
    ink = array.astype(float) / 255
    expected = 255 * (1 - ink[..., :3]) * (1 - ink[..., 3:])
    found = decoded(encoded(Image.fromarray(array, "CMYK"), "TIFF"))
    assert np.abs(found - expected.transpose(2, 0, 1)).max() <= 1


@pytest.mark.parametrize(("lightness", "grey"), [(0, 0), (255, 255), (128, 119)])
@pytest.mark.parametrize("channels", [1, 3])
def test_lab_without_colour_is_grey(lightness: int, grey: int, channels: int) -> None:
    lab = Image.new("LAB", (4, 4), (lightness, 128, 128))
    found = decoded(encoded(lab, "TIFF"), channels)
    assert np.abs(found.astype(int) - grey).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_images_are_turned_as_their_exif_says(orientation: int, format: str) -> None:
    # A dark quarter in one corner: which one says how it was turned.
    seen = np.full((16, 32), 255, np.uint8)
    seen[:8, :16] = 0
    seen[8:, :16] = 90
    undone = {
        1: seen,
        2: seen[:, ::-1],
        3: seen[::-1, ::-1],
        4: seen[::-1],
        5: seen.T,
        6: np.rot90(seen, 1),
        7: seen[::-1, ::-1].T,
        8: np.rot90(seen, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if format == "WEBP" else {}
    image = Image.fromarray(np.ascontiguousarray(undone))
    found = decoded(encoded(image, format, exif=exif, **lossless), 1)
    assert found.shape == (1, 16, 32)
    assert np.abs(found[0].astype(int) - seen).max() <= 8


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), (level, level, level)) for level in (10, 200, 90)]
    more = {"lossless": True} if format == "WEBP" else {}
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **more)
    assert np.all(decoded(data) == 10)


@settings(max_examples=300)
@given(
    format=some.sampled_from(FORMATS),
    mode=some.sampled_from(["L", "RGB", "P"]),
    seed=seeds,
    cut=some.floats(0, 1),
    changes=some.lists(some.tuples(some.floats(0, 1), some.integers(0, 255)), max_size=6),
)
def test_broken_files_are_read_or_refused_by_name(
    format: str, mode: str, seed: int, cut: float, changes: list[tuple[float, int]]
) -> None:
    image = of_mode(mode, pixels(24, 16, 4, seed=seed))
    colours = image.convert("RGB") if format in ("JPEG", "WEBP", "JPEG2000", "PPM") else image
    data = bytearray(encoded(colours, format))
    for where, value in changes:
        data[int(where * (len(data) - 1))] = value
    data = data[: max(1, int(cut * 2 * len(data)))]  # half of them whole
    refusal = ""
    try:
        array = read(lambda: bytes(data), "cats/7.png", Preparation(8, 3, "crop").image)
    except ValueError as error:
        refusal, array = str(error), np.zeros((3, 8, 8))
    assert array.shape == (3, 8, 8)
    law = "every image of a data set can be read, but cats/7.png cannot: "
    assert refusal == "" or refusal.startswith(law)


@given(data=some.binary(max_size=200))
def test_what_is_no_image_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"but a\.png cannot: "):
        decoded(data)


def test_an_image_made_to_fill_the_memory_is_refused() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000)))
    with pytest.raises(ValueError, match=r"a\.png cannot: .*pixels"):
        decoded(bomb)
    # Pillow itself only warns of less than twice its limit.
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0))
    with pytest.raises(ValueError, match=r"at most 89478485 pixels, but this has 10000 x 10000"):
        decoded(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))))


def test_a_thin_image_is_not_scaled_to_fill_the_memory() -> None:
    with pytest.raises(ValueError, match="at most 89478485 pixels"):
        prepared(Image.new("L", (1, 60_000)), 64, 1, "scale_width")


def test_postscript_is_never_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(*command: object, **more: object) -> None:
        raise AssertionError(f"was run: {command}")

    for name in ("Popen", "run", "check_call", "check_output", "call"):
        monkeypatch.setattr(subprocess, name, run)
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(ValueError, match=r"a\.png cannot: it is none of PNG, .*JPEG2000$"):
        decoded(script)
    opened = Image.open(io.BytesIO(script))
    with pytest.raises(ValueError, match="but this is EPS"):
        prepared(opened, 8)


def test_a_mode_that_pillow_cannot_make_rgb_is_refused() -> None:
    with pytest.raises(ValueError, match="conversion from La"):
        prepared(Image.new("LA", (4, 4)).convert("La"), 8)


@given(inside=arrays(np.bool_, some.tuples(sides, sides)), seed=seeds)
def test_masks_are_255_inside_however_they_are_drawn(inside: np.ndarray, seed: int) -> None:
    expected = inside[None] * 255
    noise = np.random.default_rng(seed).integers(0, 100, inside.shape)
    drawn = [
        Image.fromarray(inside),
        Image.fromarray((inside * 255).astype(np.uint8)),
        Image.fromarray(inside.astype(np.uint8)),
        Image.fromarray(np.where(inside, 255 - noise, noise).astype(np.uint8)),
        Image.fromarray(np.where(inside[..., None], (255, 0, 0), (0, 0, 9)).astype(np.uint8)),
        Image.fromarray((inside * 65535).astype(np.uint16)),
    ]
    for image in drawn:
        if np.asarray(image).max() <= 1 and not inside.any():
            continue
        assert np.array_equal(prepared_mask(image, 8, "none"), expected)
    indices = Image.fromarray((inside * 3).astype(np.uint8)).convert("P")
    assert np.array_equal(prepared_mask(indices, 8, "none"), expected)


def test_half_a_pixel_inside_is_inside() -> None:
    inside = np.zeros((8, 8), np.uint8)
    inside[:, :3] = 255
    found = prepared_mask(Image.fromarray(inside), 4, "resize")
    assert found.tolist() == [[[255, 255, 0, 0]] * 4]


def test_a_mask_that_is_partly_transparent_is_refused() -> None:
    with pytest.raises(ValueError, match="no transparency, but this is RGBA"):
        prepared_mask(Image.new("RGBA", (4, 4)), 8)
