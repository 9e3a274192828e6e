"""Check what an sdist and a wheel hold; prints one line, or exits with what is wrong.

    python .ci/check_distributions.py TREE SDIST WHEEL WHEEL_FROM_TREE

TREE is the source without build products, WHEEL is built from SDIST.
"""

import email
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

# A folder of the source, and its name once it is installed.
PACKAGES = {"pigdm_jax": "pigdm_jax", "convert": "pigdm_convert"}
PRIOR = "pigdm_jax/weights/shipped/photos-64"
REQUIRED = {
    "pigdm_jax/py.typed",
    f"{PRIOR}/README.md",
    f"{PRIOR}/ATTRIBUTION.csv",
    f"{PRIOR}/prior.json",
    f"{PRIOR}/params/_METADATA",
}
SDIST_ONLY = {
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "MANIFEST.in",
    "NOTICE",
    "PKG-INFO",
    "README.md",
    "pyproject.toml",
    "setup.cfg",
}

Files = dict[str, bytes]


def wheel_files(path: Path) -> Files:
    """Every file of a wheel."""
    with zipfile.ZipFile(path) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


def sdist_files(path: Path) -> Files:
    """Every file of an sdist, by its name below the sdist's only folder."""
    with tarfile.open(path) as sdist:
        return {
            member.name.partition("/")[2]: stream.read()
            for member in sdist.getmembers()
            if (stream := sdist.extractfile(member)) is not None
        }


def source_files(tree: Path) -> Files:
    """Every file of the packages, by its name in the source."""
    return {
        path.relative_to(tree).as_posix(): path.read_bytes()
        for folder in PACKAGES
        for path in (tree / folder).rglob("*")
        if path.is_file()
    }


def check_same(what: str, files: Files, expected: Files) -> None:
    """Same names and same bytes."""
    missing = sorted(expected.keys() - files.keys())
    extra = sorted(files.keys() - expected.keys())
    changed = sorted(n for n in files.keys() & expected if files[n] != expected[n])
    if missing or extra or changed:
        sys.exit(f"{what}: missing {missing}, superfluous {extra}, changed {changed}")


def check_metadata(files: Files, tree: Path) -> str:
    """The metadata agrees with pyproject.toml; name and version."""
    project = tomllib.loads((tree / "pyproject.toml").read_text())["project"]
    (name,) = (name for name in files if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(files[name])
    for field, value in {
        "Name": project["name"],
        "Version": project["version"],
        "License-Expression": "Apache-2.0",
        "Requires-Python": project["requires-python"],
    }.items():
        if metadata[field] != value:
            sys.exit(f"wheel: {field} is {metadata[field]}, not {value}")
    for name in ("LICENSE", "NOTICE"):
        held = [n for n in files if n.endswith(f".dist-info/licenses/{name}")]
        if [files[n] for n in held] != [(tree / name).read_bytes()]:
            sys.exit(f"wheel: no {name} as in the source")
    return f"{metadata['Name']} {metadata['Version']}"


def main() -> None:
    """Check the distributions that the command line names."""
    tree, sdist, wheel, direct = map(Path, sys.argv[1:])
    files, source = wheel_files(wheel), source_files(tree)
    check_same("wheel from the sdist and from the tree", files, wheel_files(direct))

    installed = {
        "/".join((PACKAGES[name.split("/")[0]], *name.split("/")[1:])): data
        for name, data in source.items()
    }
    held = {n: data for n, data in files.items() if ".dist-info/" not in n}
    check_same("wheel", held, installed)
    if missing := REQUIRED - held.keys():
        sys.exit(f"wheel: missing {sorted(missing)}")
    what = check_metadata(files, tree)

    names = {n for n in sdist_files(sdist) if not n.startswith("pigdm_jax.egg-info/")}
    if names != source.keys() | SDIST_ONLY:
        differing = sorted(names ^ (source.keys() | SDIST_ONLY))
        sys.exit(f"sdist: missing or superfluous {differing}")
    size = wheel.stat().st_size / 1e6
    print(f"{what}: {len(files)} files and {size:.1f} MB in the wheel, as expected")


if __name__ == "__main__":
    main()
