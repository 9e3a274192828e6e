"""Picture files as people have them: nothing is misread, and nothing is lost."""

import io

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from pigdm_jax import read_image, write_picture
from pigdm_jax.cli.console import console
from pigdm_jax.core.text import printable
from pigdm_jax.pictures import profiles
from pigdm_jax.pictures.decoding import decode, read_header
from pigdm_jax.pictures.formats import WRITTEN, check_size
from pigdm_jax.pictures.jpeg_files import read_jpeg_coefficients, read_jpeg_header
from pigdm_jax.pictures.kept import Kept, show
from pigdm_jax.pictures.levels import from_levels, to_levels
from pigdm_jax.pictures.metadata import Metadata
from pigdm_jax.pictures.parameters import read_kernel, read_mask
from pigdm_jax.pictures.writing import remarks_on, write_restored

D65 = [0.3127, 0.3290, 1.0]
P3 = imagecodecs.cms_profile(
    "rgb",
    whitepoint=D65,
    primaries=[0.680, 0.320, 1, 0.265, 0.690, 1, 0.150, 0.060, 1],
    gamma=2.2,
)
GREY = imagecodecs.cms_profile("gray", gamma=1.8)
LOSSLESS = [suffix for suffix, form in WRITTEN.items() if form.lossless]


def pixels(channels, dtype=np.uint8, size=(9, 14), seed=0):
    most = np.iinfo(dtype).max + 1
    rng = np.random.default_rng(seed)
    return rng.integers(0, most, (*size, channels)).astype(dtype)


def save(path, array, profile=None, **how):
    """A PNG or TIFF file of 8 or 16 bits, grey or colour, with or without alpha."""
    count = array.shape[-1]
    flat = np.ascontiguousarray(array[..., 0] if count == 1 else array)
    if path.suffix == ".tif":
        tifffile.imwrite(
            path,
            flat,
            photometric="rgb" if count > 2 else "minisblack",
            extrasamples=[2] if count in (2, 4) else None,
            iccprofile=profile,
            metadata=None,
            **how,
        )
    elif array.dtype == np.uint8:
        Image.fromarray(flat).save(path, icc_profile=profile, **how)
    else:
        path.write_bytes(imagecodecs.png_encode(flat))
    return path


def again(path, out, **how):
    """A picture written as if it had been restored to itself."""
    decoded = decode(path)
    shown = show(decoded, convert=True, **how)
    write_restored(out, shown.picture, shown.kept)
    return decoded, decode(out)


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [".png", ".tif"])
def test_bits_channels_and_pixels_are_kept(kind, channels, dtype, suffix, tmp_path):
    array = pixels(channels, dtype)
    out = tmp_path / f"b{suffix}"
    path = save(tmp_path / f"a{kind}", array)
    if kind == ".tif" and channels == 2 and dtype == np.uint16:
        with pytest.raises(ValueError, match="save it as grey without alpha"):
            decode(path)
        return
    header = read_header(path)
    assert (header.size, header.bits) == ((9, 14), array.itemsize * 8)
    decoded = decode(path)
    colours = array if channels % 2 else array[..., :-1]
    np.testing.assert_array_equal(decoded.pixels, colours)
    if WRITTEN[suffix].bits < decoded.bits:
        shown = show(decoded, convert=True)
        (first, *_) = remarks_on(out, shown.kept)
        assert "8 bits a channel, not 16" in first
        return
    if suffix.startswith(".tif") and channels == 2 and dtype == np.uint16:
        shown = show(decoded, convert=True)
        write_restored(out, shown.picture, shown.kept)
        np.testing.assert_array_equal(tifffile.imread(out), array)
        return
    _, written = again(path, out)
    if suffix == ".webp" and channels < 3:  # WebP has no grey
        colours = np.repeat(colours, 3, axis=-1)
    np.testing.assert_array_equal(written.pixels, colours)
    if channels % 2 == 0:
        np.testing.assert_array_equal(written.alpha, array[..., -1])


def test_one_transparent_colour_of_a_deep_png_is_alpha(tmp_path):
    array = np.array([[[1, 2, 3], [1, 2, 258]]], np.uint16)
    whole = save(tmp_path / "a.png", array).read_bytes()
    chunk = b"tRNS" + np.array([1, 2, 258], ">u2").tobytes()
    crc = imagecodecs.zlib_crc32(chunk).to_bytes(4)
    (tmp_path / "a.png").write_bytes(
        whole[:33] + (6).to_bytes(4) + chunk + crc + whole[33:]
    )
    decoded = decode(tmp_path / "a.png")
    np.testing.assert_array_equal(decoded.pixels, array)
    np.testing.assert_array_equal(decoded.alpha, [[65535, 0]])


def test_16_bits_are_read_in_full(tmp_path):
    array = np.array([[[0], [1], [256], [32768], [65535]]], np.uint16)
    image = read_image(save(tmp_path / "a.png", array))
    np.testing.assert_array_equal(to_levels(image, 16)[..., :1], array)
    kernel = read_kernel(tmp_path / "a.png")
    np.testing.assert_allclose(kernel, array[..., 0] / array.sum())


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_files_of_every_layout(compression, planar, tmp_path):
    array = pixels(3, np.uint16)
    stored = array if planar == "contig" else np.moveaxis(array, -1, 0)
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored,
        photometric="rgb",
        planarconfig=planar,
        compression=compression,
        byteorder=">",
    )
    np.testing.assert_array_equal(decode(tmp_path / "a.tif").pixels, array)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_channels_of_unknown_meaning_are_named(dtype, tmp_path):
    array = pixels(4, dtype)
    how = {"photometric": "rgb", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", array, extrasamples=[0], **how)
    decoded = decode(tmp_path / "a.tif")
    np.testing.assert_array_equal(decoded.pixels, array[..., :3])
    assert decoded.alpha is None and "unknown" in decoded.remarks[0]
    # Colours may be stored multiplied by alpha.
    array[..., 3] = np.iinfo(dtype).max // 2 + 1
    mixed = array.copy()
    mixed[..., :3] = array[..., :3] // 2
    tifffile.imwrite(tmp_path / "a.tif", mixed, extrasamples=[1], **how)
    off = np.abs(decode(tmp_path / "a.tif").pixels - array[..., :3].astype(int))
    assert off.max() <= 2


@pytest.mark.parametrize("number", range(1, 9))
def test_everything_is_turned_upright(number, tmp_path):
    """Photos of 8 and 16 bits, their headers, masks and kernels."""
    exif = Image.Exif()
    exif[0x0112] = number
    grey = pixels(1)
    picture = Image.fromarray(grey[..., 0])
    picture.save(tmp_path / "a.png", exif=exif)
    picture.save(tmp_path / "a.tif", tiffinfo={0x0112: number})
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    tag = (0x0112, 3, 1, number, True)
    save(tmp_path / "deep.tif", grey.astype(np.uint16) * 257, extratags=[tag])
    for name in ("a.png", "a.tif", "deep.tif"):
        image = read_image(tmp_path / name)
        np.testing.assert_array_equal(to_levels(image)[..., 0], upright)
        assert read_header(tmp_path / name).size == upright.shape
        np.testing.assert_array_equal(read_mask(tmp_path / name), upright >= 128)
        kernel = read_kernel(tmp_path / name)
        np.testing.assert_allclose(kernel, upright / upright.sum(), rtol=1e-6)


@pytest.mark.parametrize("suffix", WRITTEN)
def test_metadata_are_kept_and_the_orientation_is_not(suffix, tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8298] = 6, "maker", "owner"
    exif[18246] = 4
    exif.get_ifd(ExifTags.IFD.Exif).update({0x9003: "2020:01:02 03:04:05", 0xA002: 14})
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (47.0, 3.0, 12.5)})
    xmp = b'<x:xmpmeta tiff:Orientation="6">title</x:xmpmeta>'
    Image.fromarray(pixels(3)).save(
        tmp_path / "a.jpg", exif=exif.tobytes(), xmp=xmp, dpi=(300, 300)
    )
    again(tmp_path / "a.jpg", tmp_path / f"b{suffix}")
    with Image.open(tmp_path / f"b{suffix}") as picture:
        found = picture.getexif()
        assert found.get(0x0112, 1) == 1
        assert (found[0x010F], found[0x8298], found[18246]) == ("maker", "owner", 4)
        camera = found.get_ifd(ExifTags.IFD.Exif)
        assert camera[0x9003] == "2020:01:02 03:04:05" and camera[0xA002] == 9
        assert found.get_ifd(ExifTags.IFD.GPSInfo)[2] == (47.0, 3.0, 12.5)
        text = picture.info.get("xmp") or picture.info["XML:com.adobe.xmp"].encode()
        assert b"title" in text and b"Orientation" not in text
        if suffix != ".webp":
            assert abs(float(picture.info["dpi"][0]) - 300) < 0.1


def test_deep_files_keep_metadata_too(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif.get_ifd(ExifTags.IFD.Exif)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    Image.fromarray(pixels(1, np.uint16)[..., 0]).save(
        tmp_path / "a.png", exif=exif.tobytes(), icc_profile=GREY, dpi=(72, 72)
    )
    for suffix in (".png", ".tif"):
        again(tmp_path / "a.png", tmp_path / f"b{suffix}")
        with Image.open(tmp_path / f"b{suffix}") as picture:
            found = picture.getexif()
            assert picture.mode == "I;16" and found[0x010F] == "maker"
            camera = found.get_ifd(ExifTags.IFD.Exif)
            assert camera[0x9003] == "2020:01:02 03:04:05"
            assert found.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
            assert picture.info["icc_profile"] == GREY
            assert abs(float(picture.info["dpi"][0]) - 72) < 0.1


@pytest.mark.parametrize("dtype, off", [(np.uint8, 0.02), (np.uint16, 0.002)])
def test_wide_colours_come_back(dtype, off, tmp_path):
    """In sRGB they have values beyond [-1, 1]; in their own profile they are whole."""
    array = pixels(3, dtype)
    path = save(tmp_path / "a.tif", array, P3)
    assert read_header(path).profiled
    decoded = decode(path)
    shown = show(decoded, convert=True)
    assert np.abs(shown.picture).max() > 1.01 and "sRGB" in shown.remarks[0]
    assert np.abs(read_image(path)).max() <= 1
    for suffix in (".tif", ".png"):
        if suffix == ".png" and dtype == np.uint8:
            array = array.clip(20, 235)
            path = save(tmp_path / "a.png", array, P3)
        _, written = again(path, tmp_path / f"b{suffix}")
        assert written.profile == P3
        differ = np.abs(from_levels(written.pixels) - from_levels(array))
        assert differ.max() < off
    # A quantiser saw the numbers of the file.
    untouched = show(decode(path), convert=False)
    np.testing.assert_array_equal(untouched.picture, from_levels(array))
    assert not untouched.kept.converted and untouched.kept.profile == P3


def test_adobe_rgb_may_be_named_by_exif_alone(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = {1: "R03"}
    picture = Image.fromarray(np.full((8, 8, 3), (200, 60, 60), np.uint8))
    picture.save(tmp_path / "a.jpg", quality=100, exif=exif.tobytes())
    assert read_header(tmp_path / "a.jpg").profiled
    redder = to_levels(read_image(tmp_path / "a.jpg"))[0, 0]
    assert redder[0] > 220 and redder[1] < 65
    decoded, written = again(tmp_path / "a.jpg", tmp_path / "b.png")
    np.testing.assert_array_equal(written.pixels, decoded.pixels)
    assert "Adobe RGB" in profiles.name(written.profile)


def test_profiles_of_srgb_change_nothing(tmp_path):
    array = pixels(3)
    path = save(tmp_path / "a.png", array, profiles.srgb())
    np.testing.assert_array_equal(read_image(path), from_levels(array))
    decoded, written = again(path, tmp_path / "b.png")
    assert written.profile == decoded.profile == profiles.srgb()
    assert not show(decoded, convert=True).remarks


def test_broken_profiles_are_said_to_be(tmp_path):
    for profile in (P3[:300], b"nonsense" * 40, GREY):
        decoded = decode(save(tmp_path / "a.tif", pixels(3), profile))
        assert decoded.profile is None and "profile" in decoded.remarks[0]


def test_srgb_values_agree_with_lcms():
    ramp = np.linspace(0.2, 0.8, 5, dtype=np.float32)
    grid = np.stack(np.meshgrid(ramp, ramp, ramp), -1).reshape(1, -1, 3)
    srgb = imagecodecs.cms_profile("srgb")
    theirs = imagecodecs.cms_transform(
        grid, P3, srgb, colorspace="rgb", outcolorspace="rgb", outdtype=np.float32
    )
    ours = profiles.to_srgb(grid, P3)
    inside = (theirs > 0).all(-1)
    np.testing.assert_allclose(ours[inside], theirs[inside], atol=1e-3)
    np.testing.assert_allclose(profiles.from_srgb(ours, P3), grid, atol=1e-4)


def test_grey_stays_grey_unless_it_is_to_have_colour(tmp_path):
    path = save(tmp_path / "a.png", pixels(1))
    shown = show(decode(path), convert=True)
    assert shown.picture.shape[-1] == 3 and shown.kept.grey
    coloured = shown.picture + np.array([0.1, 0, -0.1], np.float32)
    write_restored(tmp_path / "b.png", coloured * 0.5, shown.kept)
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.mode == "L"
        np.testing.assert_array_equal(
            np.asarray(picture), to_levels(shown.picture * 0.5)[..., 0]
        )
    assert not show(decode(path), convert=True, colour=True).kept.grey


def test_alpha_is_resized_or_blended_and_said_to_be(tmp_path):
    array = pixels(4)
    array[:, :7, 3], array[:, 7:, 3] = 0, 255
    path = save(tmp_path / "a.png", array)
    decoded = decode(path)
    shown = show(decoded, convert=True)
    np.testing.assert_array_equal(to_levels(shown.picture), array[..., :3])
    large = np.repeat(np.repeat(shown.picture, 2, 0), 2, 1)
    write_restored(tmp_path / "b.webp", large, shown.kept)
    alpha = decode(tmp_path / "b.webp").alpha
    assert alpha.shape == (18, 28) and not alpha[:, :11].any()
    assert (alpha[:, 17:] == 255).all()
    write_restored(tmp_path / "b.jpg", large, shown.kept)
    assert (read_image(tmp_path / "b.jpg")[:, :8] > 0.9).all()
    assert "kept" in remarks_on(tmp_path / "b.png", shown.kept)[0]
    assert "blended" in remarks_on(tmp_path / "b.jpg", shown.kept)[0]


def test_formats_follow_the_suffix(tmp_path):
    image = from_levels(pixels(3))
    for suffix, form in WRITTEN.items():
        write_picture(tmp_path / f"a{suffix}", image)
        with Image.open(tmp_path / f"a{suffix}") as picture:
            assert picture.format == form.name
    assert read_jpeg_header(tmp_path / "a.jpg").subsampling == "4:4:4"
    plain = io.BytesIO()
    Image.fromarray(pixels(3)).save(plain, "PNG")
    assert (tmp_path / "a.png").read_bytes() == plain.getvalue()


def mask_of(tmp_path, array):
    Image.fromarray(np.asarray(array, np.uint8)).save(tmp_path / "mask.png")
    return read_mask(tmp_path / "mask.png").tolist()


def test_masks_in_colour_and_with_holes(tmp_path):
    white, black, pale = (255, 255, 255), (0, 0, 0), (255, 220, 200)
    red, green, yellow, grey = (255, 0, 0), (0, 255, 0), (255, 255, 0), (90, 90, 90)
    colours = [[white, black, pale, red, green, yellow, grey]]
    assert mask_of(tmp_path, colours) == [[1, 0, 1, 0, 0, 0, 0]]
    # The eraser makes holes; what is under them does not matter.
    holes = [[(*white, 255), (*white, 0), (*black, 0), (*black, 255), (*white, 200)]]
    assert mask_of(tmp_path, holes) == [[1, 0, 0, 0, 1]]
    with pytest.raises(ValueError, match="not transparent"):
        mask_of(tmp_path, [[(*black, 255), (*white, 0)]])


def test_a_transparent_kernel_is_black_where_it_is_transparent(tmp_path):
    Image.fromarray(
        np.array([[(255, 255, 255, 0), (100, 100, 100, 255)]], np.uint8)
    ).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_kernel(tmp_path / "a.png"), [[0, 1]])


def test_kinds_of_jpeg_files(tmp_path):
    smooth = np.add.outer(np.arange(16) * 5, np.arange(24) * 3).astype(np.uint8)
    picture = Image.fromarray(np.dstack([smooth, 255 - smooth, smooth // 2]))
    path = tmp_path / "a.jpg"
    picture.save(path, keep_rgb=True)
    with pytest.raises(ValueError, match="blocks hold RGB"):
        read_jpeg_header(path)
    steps = [[i] * 64 for i in (2, 3, 5)]
    picture.save(path, qtables=steps, subsampling=0)
    with pytest.raises(ValueError, match="different quantisation tables"):
        read_jpeg_header(path)
    picture.save(path, qtables=[steps[0], steps[1], steps[1]], subsampling=0)
    assert [table.max() for table in read_jpeg_header(path).tables] == [2, 3]
    picture.save(path, "MPO", save_all=True, append_images=[picture], quality=50)
    with Image.open(path) as opened:
        assert opened.format == "MPO"
    assert read_jpeg_header(path).subsampling == "4:2:0"
    first, second = io.BytesIO(), read_jpeg_coefficients(path)
    picture.save(first, "JPEG", quality=50, progressive=True)
    (tmp_path / "first.jpg").write_bytes(first.getvalue())
    one = read_jpeg_coefficients(tmp_path / "first.jpg")
    for a, b in zip(one, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(read_image(path) - from_levels(np.asarray(picture))).mean() < 0.1
    picture.convert("CMYK").save(path, quality=95)
    decoded = decode(path)
    assert "CMYK" in decoded.remarks[0]
    off = np.abs(decoded.pixels.astype(int) - np.asarray(picture))
    assert off.mean() < 6


def test_animated_and_paged_files_are_refused(tmp_path):
    frames = [Image.fromarray(pixels(3, seed=i)) for i in range(3)]
    for suffix in ("gif", "webp", "png", "tif", "avif"):
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        for read in (read_image, read_header, decode):
            with pytest.raises(ValueError, match="holds 3 pictures") as caught:
                read(path)
            assert "\n" not in str(caught.value)


def test_previews_are_no_pages_and_raw_files_are_refused(tmp_path):
    array = pixels(3)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(array, photometric="rgb")
        writer.write(array[:4, :4], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(decode(path).pixels, array)
    with tifffile.TiffWriter(path) as writer:
        writer.write(array[:4, :4], photometric="rgb", subfiletype=1)
    with pytest.raises(ValueError, match="raw data"):
        decode(path)


@pytest.mark.parametrize("suffix", ["gif", "avif", "bmp", "webp"])
def test_other_formats_are_read(suffix, tmp_path):
    smooth = np.add.outer(np.arange(16) * 5, np.arange(24) * 3).astype(np.uint8)
    Image.fromarray(smooth).convert("RGB").save(tmp_path / f"a.{suffix}")
    off = read_image(tmp_path / f"a.{suffix}")[..., 0] - from_levels(smooth)
    assert np.abs(off).mean() < 0.05


def test_heic_files_are_read_or_an_extra_is_named(tmp_path, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    smooth = np.add.outer(np.arange(64) * 2, np.arange(64)).astype(np.uint8)
    picture = Image.fromarray(np.dstack([smooth] * 3))
    pillow_heif.from_pillow(picture).save(tmp_path / "a.heic", quality=90)
    off = read_image(tmp_path / "a.heic")[..., 0] - from_levels(smooth)
    assert np.abs(off).mean() < 0.05
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'pigdm-jax\[heic\]'"):
        read_image(tmp_path / "a.heic")


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
        b"P6 2 2 255 " + bytes(12),
        b"8BPS\0\1" + bytes(60),
    ],
)
def test_other_formats_are_not_opened(content, tmp_path):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match="not a picture that can be read"):
        read_image(tmp_path / "a.png")


def test_a_picture_with_too_many_pixels_is_refused(tmp_path):
    path = save(tmp_path / "a.png", pixels(3))
    whole = path.read_bytes()
    header = b"IHDR" + (40_000).to_bytes(4) * 2 + whole[24:29]
    crc = imagecodecs.zlib_crc32(header).to_bytes(4)
    path.write_bytes(whole[:12] + header + crc + whole[33:])
    with pytest.raises(ValueError, match="million pixels"):
        read_header(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "gif", "avif"])
def test_broken_files_are_refused_in_one_sentence(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x010F] = "maker"
    how = {} if suffix == "gif" else {"exif": exif.tobytes(), "icc_profile": P3}
    Image.fromarray(pixels(3)).save(path, **how)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = whole.copy()
        places = rng.integers(0, len(broken), rng.integers(1, 9))
        broken[places] = rng.integers(0, 256, len(places))
        path.write_bytes(broken[: rng.integers(1, len(broken) + 1)].tobytes())
        for read in (read_header, decode):
            try:
                read(path)
            except ValueError as error:
                assert "\n" not in str(error) and str(path) in str(error)


def test_texts_of_png_files_are_kept_and_lost_iptc_data_are_named(tmp_path):
    info = PngInfo()
    info.add_text("Title", "a cat")
    info.add_itxt("Author", "Zoë")
    Image.fromarray(pixels(3)).save(tmp_path / "a.png", pnginfo=info)
    again(tmp_path / "a.png", tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.text == {"Title": "a cat", "Author": "Zoë"}
    caption = b"8BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\x78\0\x03cat"
    segment = b"Photoshop 3.0\0" + caption
    Image.fromarray(pixels(3)).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    marker = b"\xff\xed" + (len(segment) + 2).to_bytes(2) + segment
    (tmp_path / "a.jpg").write_bytes(whole[:2] + marker + whole[2:])
    assert decode(tmp_path / "a.jpg").remarks == ("its IPTC data are not kept",)


def test_the_console_prints_names_as_they_are():
    with console.capture() as captured:
        console.print("wrote a\x1b[2J:cat:[red].png", "b\n.png")
    assert captured.get() == "wrote a\\x1b[2J:cat:[red].png b\\n.png\n"


def test_names_of_files_cannot_act_on_a_terminal():
    hostile = "a\nb\r\x1b[31mred\x07\x9b\u202e\udcff.png"
    shown = printable(hostile)
    assert shown == r"a\nb\r\x1b[31mred\x07\x9b\u202e\xff.png"
    assert printable("Ünïcode 画像 (1) [x].png") == "Ünïcode 画像 (1) [x].png"


def test_what_is_kept_of_nothing_is_a_plain_file(tmp_path):
    write_restored(tmp_path / "a.png", from_levels(pixels(3)), Kept())
    with Image.open(tmp_path / "a.png") as picture:
        picture.load()
        assert picture.mode == "RGB" and not picture.info


def test_what_a_format_cannot_hold_is_said_before_computing(tmp_path):
    check_size(tmp_path / "a.webp", 16383, 8)
    with pytest.raises(ValueError, match=r"at most 16383 pixels, not 16384 x 8"):
        check_size(tmp_path / "a.webp", 16384, 8)
    exif = Image.Exif()
    camera = exif.get_ifd(ExifTags.IFD.Exif)
    camera[0x9003], camera[0x927C] = "2020:01:02 03:04:05", bytes(70_000)
    metadata = Metadata(exif.tobytes(), bytes(70_000))
    kept = Kept(metadata=metadata)
    assert "not all kept" in remarks_on(tmp_path / "a.jpg", kept)[0]
    assert not remarks_on(tmp_path / "a.png", kept)
    write_restored(tmp_path / "a.jpg", from_levels(pixels(3)), kept)
    with Image.open(tmp_path / "a.jpg") as picture:
        camera = picture.getexif().get_ifd(ExifTags.IFD.Exif)
        assert camera[0x9003] == "2020:01:02 03:04:05" and 0x927C not in camera
