"""Images of any kind, made into the arrays that networks are trained on."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000")
"""What is decoded, by content. Pillow knows more, among them EPS, which it has Ghostscript run."""

ENDINGS = frozenset(
    (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2")
)
"""What files of images are called, in lower case."""

BACKGROUND = (255, 255, 255)
"""What is seen through what is transparent: white, as on a page."""

T = TypeVar("T")
Resize = Literal["crop", "resize", "scale_width", "scale_width_and_crop", "none"]


@dataclass(frozen=True)
class Preparation:
    """How images become arrays: upright, on white, as RGB or grey, and of which size.

    ``resize`` is ``crop``: the central square, resized to ``size`` px; ``resize``: the whole image
    as such a square, whatever its proportions; ``scale_width``: ``size`` px wide, in proportion;
    ``scale_width_and_crop``: of that, the central square; ``none``: as it is. All of it is Lanczos,
    antialiased.
    """

    size: int
    channels: int
    resize: Resize

    @property
    def recipe(self) -> dict[str, str | int | bool]:
        """What of it changes pixels, by name."""
        if self.resize == "none":
            return {"resize": "none"}
        return {"resize": self.resize, "filter": "lanczos", "antialias": True}

    def image(self, image: Image.Image) -> np.ndarray:
        return prepared(image, self.size, self.channels, self.resize)

    def mask(self, image: Image.Image) -> np.ndarray:
        return prepared_mask(image, self.size, self.resize)


def prepared(
    image: Image.Image, size: int, channels: int = 3, resize: Resize = "crop"
) -> np.ndarray:
    """Any image as uint8 (C, H, W) of 1 or 3 channels; of an animation, the first frame.

    It is turned as its EXIF says, and what is transparent, in its palette or otherwise, lies on
    white. Grey of 16 bits is scaled to 8, floats from 0 to 1 to 0 to 255; colour of 16 bits has
    lost its lower 8 when Pillow opens it. CMYK, Lab, HSV and YCbCr become RGB by Pillow's formulas,
    whatever their ICC profile; grey is ITU-R 601's luma. Raises ValueError for anything else.
    """
    if image.format not in (None, "MPO", *FORMATS):  # MPO is a JPEG with others behind it
        raise ValueError(f"images are one of {', '.join(FORMATS)}, but this is {image.format}")
    colours = _opaque(ImageOps.exif_transpose(image))
    return _array(resized(colours.convert("L" if channels == 1 else "RGB"), size, resize))


def prepared_mask(image: Image.Image, size: int, resize: Resize = "crop") -> np.ndarray:
    """A mask as uint8 (1, H, W), 255 inside and 0 outside.

    Inside is what is at least half as bright as white in any channel; in a palette, any colour but
    the first; where only 0 and 1 occur, 1. Resized, a pixel is inside if half of it or more is.
    Raises ValueError for one that is partly transparent, since either could be meant.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        raise ValueError(f"a mask has no transparency, but this is {image.mode}")
    levels = np.asarray(image if image.mode == "P" else _opaque(image))
    few = image.mode == "P" or levels.max() <= 1
    inside = levels >= (1 if few else 128)
    flat = inside.any(-1) if inside.ndim == 3 else inside
    drawn = Image.fromarray(flat.astype(np.uint8) * 255)
    scaled = resized(drawn, size, resize, Image.Resampling.BOX)
    return np.where(_array(scaled) >= 128, 255, 0).astype(np.uint8)


def resized(
    image: Image.Image,
    size: int,
    resize: Resize,
    filter: Image.Resampling = Image.Resampling.LANCZOS,
) -> Image.Image:
    """An image in its new size. Raises ValueError when the proportions do not allow it."""
    if resize == "none":
        return image
    if resize == "crop":
        return ImageOps.fit(image, (size, size), filter)
    if resize == "resize":
        return image.resize((size, size), filter)
    height = max(1, round(size * image.height / image.width))
    limit(size, height)
    if resize == "scale_width_and_crop" and height < size:
        law = f"an image {size} px wide is at least as high, to be cropped square"
        raise ValueError(f"{law}, but this is {image.width} x {image.height}")
    scaled = image.resize((size, height), filter)
    return scaled if resize == "scale_width" else ImageOps.fit(scaled, (size, size), filter)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an image once it is turned as its EXIF says."""
    sideways = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    return (image.height, image.width) if sideways else image.size


def limit(width: int, height: int) -> None:
    """Raise ValueError for an image of more pixels than Pillow's limit, made to fill the memory."""
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and width * height > most:
        raise ValueError(f"images have at most {most} pixels, but this has {width} x {height}")


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Raise ValueError, naming ``where`` an image is from, when it cannot be got, decoded or
    made. What can be is not warned of."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # decoders raise anything, given bytes made to break them
        unknown = isinstance(error, UnidentifiedImageError)
        why = f"it is none of {', '.join(FORMATS)}" if unknown else error or type(error).__name__
        law = "every image of a data set can be read, but"
        raise ValueError(f"{law} {where} cannot: {why}") from error


def read(file: Path | Callable[[], bytes], where: str, make: Callable[[Image.Image], T]) -> T:
    """What ``make`` makes of an encoded image: a file, or what its bytes are got by. Raises
    ValueError, naming ``where`` it is from, when that cannot be."""
    with naming(where):
        source = file if isinstance(file, Path) else io.BytesIO(file())
        with Image.open(source, formats=FORMATS) as image:
            limit(image.width, image.height)
            return make(image)


def _array(image: Image.Image) -> np.ndarray:
    return np.atleast_3d(np.asarray(image, np.uint8)).transpose(2, 0, 1)


def _opaque(image: Image.Image) -> Image.Image:
    """An image of 8 bits a channel, grey or RGB, with nothing transparent in it."""
    if image.mode == "F" or image.mode.startswith("I"):
        image = _of_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, BACKGROUND)
        return Image.alpha_composite(page, image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _of_8_bits(image: Image.Image) -> Image.Image:
    levels = np.asarray(image)
    top = 1.0 if image.mode == "F" else 65535.0
    # NaN fails this, too.
    if not (levels.min() >= 0 and levels.max() <= top):
        kind = "of floats" if image.mode == "F" else "of integers"
        law = f"an image {kind} has levels from 0 to {top:g}"
        raise ValueError(f"{law}, but this has {levels.min():g} to {levels.max():g}")
    grey = Image.fromarray(np.rint(levels * (255 / top)).astype(np.uint8))
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return grey
    shown = Image.fromarray(np.where(levels == clear, 0, 255).astype(np.uint8))
    return Image.merge("LA", (grey, shown))
