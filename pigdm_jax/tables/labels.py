"""Classes of ImageNet's images: from the names of their folders, or from a file."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from pigdm_jax.core.paths import check_readable
from pigdm_jax.core.text import printable

CLASSES = 1000
LARGEST = 2**26  # bytes of a file
SYNSET = re.compile(r"n\d{8}")
HEADER = "ImageId,PredictionString"
EXPLANATION = (
    "it has a line for each image: its name and its class (an index from 0 to 999 in "
    "the sorted order of the synsets, or a synset such as n01440764), or the synset "
    "alone, in the order of the names"
)


def class_labels(
    names: Sequence[str],
    folder: Path,
    labels: Path | None = None,
    classes: Path | None = None,
) -> dict[str, int] | None:
    """The class of each image, an index in the sorted order of ImageNet's synsets.

    Args:
      names: of the images to label, relative to their folder, with "/".
      folder: that of all images. Its sub-folders are the classes if they have the names
        of synsets.
      labels: a file with the classes instead.
      classes: a file of the 1000 synsets, needed where neither the folders nor `labels`
        have all of them; the first synset of each line counts.

    Returns:
      A class from 0 to 999 for each name; None if nothing says what the classes are.

    Raises:
      ValueError: in one sentence, if a file is wrong, an image has no class, or the
        synsets are not known.

    Examples:
      >>> print(class_labels(["a.png"], Path(".")))
      None
    """
    if labels is not None:
        found = _from_file(names, folder, labels)
    else:
        found = {name: PurePosixPath(name).parts[0] for name in names}
        if not all(SYNSET.fullmatch(str(synset)) for synset in found.values()):
            if classes is not None:
                raise ValueError(
                    f"--classes {classes} has no effect, since the images are not in "
                    "folders named by synsets; --labels says which class each has"
                )
            return None
    if all(isinstance(value, int) for value in found.values()):
        return {name: int(value) for name, value in found.items()}
    order = _order(folder, labels, classes)
    unknown = sorted(str(x) for x in found.values() if x not in order)
    if unknown:
        raise ValueError(f"{unknown[0]} is not one of the {CLASSES} synsets")
    return {name: order[str(synset)] for name, synset in found.items()}


def _order(folder: Path, labels: Path | None, classes: Path | None) -> dict[str, int]:
    """The index of each synset.

    Raises:
      ValueError: if there are not exactly 1000.
    """
    if classes is not None:
        where, synsets = str(classes), set(_synsets(_lines(classes)))
    elif labels is not None:
        where, synsets = str(labels), set(_synsets(_lines(labels)))
    else:
        where = str(folder)
        names = (path.name for path in folder.iterdir() if path.is_dir())
        synsets = {name for name in names if SYNSET.fullmatch(name)}
    if len(synsets) != CLASSES:
        raise ValueError(
            f"{where} has {len(synsets)} different synsets, and their indices follow "
            f"from all {CLASSES}; --classes names a file of those, a line for each"
        )
    return {synset: index for index, synset in enumerate(sorted(synsets))}


def _synsets(lines: Sequence[str]) -> list[str]:
    """The first synset of each line that has one."""
    found = (SYNSET.search(line) for line in lines)
    return [match[0] for match in found if match]


def _from_file(names: Sequence[str], folder: Path, file: Path) -> dict[str, int | str]:
    """The class of each image as a file has it, an index or a synset.

    Raises:
      ValueError: if the file is of no known form, or an image has no class.
    """
    if file.suffix == ".json":
        from pigdm_jax.metrics.results import read_labels

        pairs = [[name, str(label)] for name, label in read_labels(file).items()]
    else:
        lines = [line for line in _lines(file) if line != HEADER]
        pairs = [re.split(r"[\s,]+", line)[:2] for line in lines]
    if all(len(pair) == 1 for pair in pairs):
        return _in_order(names, folder, file, [pair[0] for pair in pairs])
    known: dict[str, int | str] = {}
    for pair in pairs:
        value = _parsed(pair[-1])
        if len(pair) < 2 or value is None:
            line = printable(" ".join(pair))
            raise ValueError(f"{file} has the line {line[:60]!r}; {EXPLANATION}")
        known[pair[0]] = known[_stem(pair[0])] = value
    return {name: _known(name, known, file) for name in names}


def _in_order(
    names: Sequence[str], folder: Path, file: Path, lines: Sequence[str]
) -> dict[str, int | str]:
    """Classes from a file that has one value a line and names no images.

    Raises:
      ValueError: if the values are no synsets, or not as many as images.
    """
    if not all(SYNSET.fullmatch(line) for line in lines):
        raise ValueError(
            f"{file} has numbers without names, as in ImageNet's development kit, "
            f"whose numbers follow another order; {EXPLANATION}"
        )
    from pigdm_jax.pictures.formats import SUFFIXES

    paths = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    every = sorted(path.relative_to(folder).as_posix() for path in paths)
    if len(every) != len(lines):
        raise ValueError(
            f"{file} has {len(lines)} lines without names, and {folder} {len(every)} "
            "images; they must be equally many"
        )
    order: Mapping[str, str] = dict(zip(every, lines, strict=True))
    return {name: order[name] for name in names}


def _known(name: str, known: Mapping[str, int | str], file: Path) -> int | str:
    """The class of an image by its path, or its file's name, with a suffix or not.

    Raises:
      ValueError: if it has none.
    """
    base = PurePosixPath(name).name
    for form in (name, base, _stem(name), _stem(base)):
        if form in known:
            return known[form]
    raise ValueError(f"{file} has no class for the image {name}")


def _parsed(text: str) -> int | str | None:
    """A class: an index, a synset, or None for neither."""
    if SYNSET.fullmatch(text):
        return text
    if re.fullmatch(r"\d{1,4}", text) and int(text) < CLASSES:
        return int(text)
    return None


def _stem(name: str) -> str:
    return re.sub(r"\.[A-Za-z]{3,4}$", "", name)


def _lines(file: Path) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
      ValueError: if it cannot be read, or is no text.
    """
    check_readable(file)
    try:
        with open(file, encoding="utf-8") as opened:
            text = opened.read(LARGEST)
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"{file} is no text file; {EXPLANATION}") from None
    lines = [line.strip() for line in text.splitlines()]
    if not any(lines):
        raise ValueError(f"{file} is empty; {EXPLANATION}")
    return [line for line in lines if line]
