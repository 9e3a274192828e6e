"""Pack training photos into one .zip file, small enough to carry to another machine.

    python benchmarks/pack_photos.py ../shared/data/train packed/photos.zip
    pigdm train packed/photos.zip --out RUN

Photos are shrunk to --side pixels and saved with the highest JPEG quality that keeps
the file below --megabytes; JPEG files that are small enough are kept as they are if
that does too. `sources.csv` inside names every photo with the
SHA-256 of the file it comes from.
"""

import argparse
import csv
import hashlib
import io
import os
import zipfile
from pathlib import Path

from PIL import Image, ImageOps

# None: small enough JPEG files byte for byte, others at 95.
QUALITIES = (None, 95, 92, 90, 87, 85, 80)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def shrunk(path: Path, side: int, quality: int | None) -> bytes:
    with Image.open(path) as picture:
        small = picture.format == "JPEG" and max(picture.size) <= side
        if quality is None and small:
            return path.read_bytes()
        picture = ImageOps.exif_transpose(picture).convert("RGB")
        if max(picture.size) > side:
            picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality or 95, subsampling="4:4:4")
    return stream.getvalue()


def pack(
    paths: list[Path], root: Path, out: Path, side: int, quality: int | None
) -> int:
    """Write the archive; its size in bytes."""
    rows = io.StringIO()
    writer = csv.writer(rows)
    writer.writerow(("name", "sha256_of_source"))
    with zipfile.ZipFile(out, "w") as archive:
        for path in paths:
            name = path.relative_to(root).with_suffix(".jpg").as_posix()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            archive.writestr(name, shrunk(path, side, quality))
            writer.writerow((name, digest))
        archive.writestr("sources.csv", rows.getvalue())
    return out.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="with one sub-folder a collection")
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--without",
        nargs="*",
        default=["bsds500"],
        help="collections to leave out; bsds500 has no stated licence",
    )
    parser.add_argument("--side", type=int, default=448)
    parser.add_argument("--megabytes", type=float, default=45)
    args = parser.parse_args()

    paths = [
        path
        for path in sorted(args.folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and path.relative_to(args.folder).parts[0] not in args.without
    ]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = args.out.with_suffix(".tmp")
    for quality in QUALITIES:
        size = pack(paths, args.folder, temporary, args.side, quality)
        print(f"{len(paths)} photos, quality {quality or 'kept'}: {size / 1e6:.1f} MB")
        if size < 1e6 * args.megabytes:
            os.replace(temporary, args.out)
            return
    temporary.unlink()
    raise SystemExit(f"over {args.megabytes} MB at every quality; lower --side")


if __name__ == "__main__":
    main()
