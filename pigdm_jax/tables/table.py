"""Tables in files: the settings of each row, and what was published.

Imports no JAX, so that the command can list tables and refuse wrong files at once.
"""

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pigdm_jax.core.paths import check_readable
from pigdm_jax.core.text import printable
from pigdm_jax.tables.fields import Fields

SHIPPED = Path(__file__).parent / "shipped"
LARGEST = 2**20  # bytes of a file
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
PICKS = ("first", "spread")


@dataclasses.dataclass(frozen=True)
class Published:
    """What a paper or a code states for a row.

    Attributes:
      method: its name.
      figures: values by metric.
      evaluations: of the network; None if not stated.
      source: where the figures stand.
      second_hand: whether they were taken from another paper than the method's own.
    """

    method: str
    figures: Mapping[str, float]
    evaluations: int | None = None
    source: str = ""
    second_hand: bool = False


@dataclasses.dataclass(frozen=True)
class TableRow:
    """One experiment.

    Attributes:
      name: of its folder and for `--rows`.
      group: the name of the entry that it is from, which may have a row for each of
        several numbers of steps.
      title: for people.
      task: as `pigdm restore --task` takes it; "" if the row is left out.
      noise: standard deviation of the noise, for pixels from 0 to 1.
      sampler: as `pigdm restore --sampler` takes it.
      images: number of images; None for all.
      pick: which of the images: "first", or "spread" evenly over their sorted names.
      crop: side of the square from the middle of each image.
      metrics: their names.
      notes: what differs from the publication, or is unknown.
      left_out: why the row cannot be run; "" if it can.
      published: figures of others.
    """

    name: str
    group: str
    title: str
    task: str
    noise: float
    sampler: str
    images: int | None
    pick: str
    crop: int
    metrics: tuple[str, ...]
    notes: tuple[str, ...] = ()
    left_out: str = ""
    published: tuple[Published, ...] = ()


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of a publication.

    Attributes:
      name: of the file.
      title: what it shows.
      paper: the publication.
      data: the images that it used.
      prior: the prior that it used, by a name of the catalogue if it has one.
      sources: where the settings stand.
      notes: what differs from the publication in all rows, or is unknown.
      rows: the experiments.
      folder: where the file is, and the files that its tasks name.
    """

    name: str
    title: str
    paper: str
    data: str
    prior: str
    sources: tuple[str, ...]
    notes: tuple[str, ...]
    rows: tuple[TableRow, ...]
    folder: Path


def table_names() -> list[str]:
    """Names of the tables that come with the package.

    Examples:
      >>> "pigdm-2" in table_names()
      True
    """
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def find_table(name_or_path: str) -> Table:
    """Read a table.

    Args:
      name_or_path: of a table that comes with the package, or the path of a .toml file.

    Raises:
      ValueError: in one sentence, if there is no such table, or its file is wrong.
    """
    if name_or_path in table_names():
        return read_table(SHIPPED / f"{name_or_path}.toml")
    path = Path(name_or_path)
    if path.suffix != ".toml":
        raise ValueError(
            f"no table {name_or_path!r}: there are {', '.join(table_names())}; or give "
            "the path of a .toml file of your own"
        )
    check_readable(path)
    return read_table(path)


def read_table(path: Path) -> Table:
    """Read the file of a table.

    Raises:
      ValueError: in one sentence, if it is no such file.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST)
        given = tomllib.loads(content.decode())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = printable(str(error))
        raise ValueError(f"{path} is no TOML file: {reason}") from None
    fields = Fields(given, str(path))
    rows = [
        row
        for part in fields.tables("rows")
        for row in _rows(Fields(part, str(path)), fields)
    ]
    names = [row.name for row in rows]
    twice = {name for name in names if names.count(name) > 1}
    if twice or not rows:
        what = f"two rows named {min(twice)}" if twice else "no rows"
        raise ValueError(f"{path} has {what}; each [[rows]] needs a name of its own")
    table = Table(
        name=path.stem,
        title=fields.text("title"),
        paper=fields.text("paper", ""),
        data=fields.text("data", ""),
        prior=fields.text("prior", ""),
        sources=fields.texts("sources"),
        notes=fields.texts("notes"),
        rows=tuple(rows),
        folder=path.absolute().parent,
    )
    for name in DEFAULTS:
        given.pop(name, None)
    fields.check_unknown()
    return table


# What a table may set for all of its rows.
DEFAULTS = ("noise", "sampler", "images", "pick", "crop", "metrics")


def _rows(fields: "Fields", defaults: "Fields") -> list[TableRow]:
    """The rows of an entry: one, or one for each number of steps."""
    name = fields.text("name")
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{fields.where}: a row's name has small letters, digits, '.', '_' and "
            f"'-', not {name!r}"
        )
    fields.where = f"{fields.where}, row {name}"
    shared = defaults.given
    for key in DEFAULTS:
        if key in shared:
            fields.given.setdefault(key, shared[key])
    left_out = fields.text("left_out", "")
    row = TableRow(
        name=name,
        group=name,
        title=fields.text("title", name),
        task=fields.text("task", *("",) * bool(left_out)),
        noise=fields.number("noise", 0, 1, 0.0),
        sampler=fields.text("sampler", *("",) * bool(left_out)),
        images=fields.whole("images", None),
        pick=fields.text("pick", "first"),
        crop=fields.whole("crop", 256) or 256,
        metrics=fields.texts("metrics") or ("psnr", "ssim"),
        notes=fields.texts("notes"),
        left_out=left_out,
        published=_published(fields),
    )
    if row.pick not in PICKS:
        raise ValueError(f"{fields.where}: pick is {' or '.join(PICKS)}")
    steps = fields.wholes("steps")
    fields.check_unknown()
    if not steps:
        return [row]
    if row.published:
        raise ValueError(
            f"{fields.where}: published figures belong to one number of steps; write a "
            "row for each"
        )
    return [_with_steps(row, n) for n in steps]


def _with_steps(row: TableRow, steps: int) -> TableRow:
    """A row with another number of steps of its sampler, which names none."""
    name, colon, rest = row.sampler.partition(":")
    return dataclasses.replace(
        row,
        name=f"{row.name}-{steps}",
        title=f"{row.title}, {steps} evaluations",
        sampler=f"{name}:steps={steps}{',' if colon else ''}{rest}",
    )


def _published(fields: "Fields") -> tuple[Published, ...]:
    found = []
    given = fields.take("published", dict, {})
    for method, part in given.items():
        inner = Fields(part, f"{fields.where}, published {method}")
        evaluations, source = inner.whole("evaluations", None), inner.text("source")
        second_hand = bool(inner.take("second_hand", bool, False))
        figures = {name: inner.number(name) for name in list(inner.given)}
        found.append(Published(method, figures, evaluations, source, second_hand))
    return tuple(found)
