"""How the command ends when it fails: one line, and a status."""

import errno
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st

from pigdm_jax.cli import main as cli
from pigdm_jax.cli.arguments import boolean_flags, check_arguments
from pigdm_jax.cli.failures import expected, failures_answered
from pigdm_jax.core.checks import check_number
from pigdm_jax.core.text import printable
from pigdm_jax.operators import parse
from pigdm_jax.samplers import DDIM


def ended(function):
    """The status, and the line if it is a part of it, with which a function ends."""
    with pytest.raises(SystemExit) as end, failures_answered():
        function()
    return end.value.code


def raiser(error):
    def fail():
        raise error

    return fail


def checked_in_a_trace(x):
    DDIM(steps=-1)
    return x


EXPECTED = {
    "our check": lambda: check_number("size", -1, 0),
    "our check, in jit": lambda: jax.jit(checked_in_a_trace)(1.0),
    "our check, from another error": lambda: parse("jpeg:0", (8, 8, 3)),
    "a file of the system": lambda: open("/nowhere/at/all"),
    "a full disk": raiser(OSError(errno.ENOSPC, "No space left on device", "x.png")),
    "a vanished folder": raiser(FileNotFoundError(errno.ENOENT, "No such file", "a")),
    "no permission": raiser(PermissionError(errno.EACCES, "Permission denied", "a")),
    "no memory": raiser(MemoryError()),
    "no memory of XLA": raiser(RuntimeError("RESOURCE_EXHAUSTED: 9 GB")),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_expected_failures_are_printable(name):
    line = ended(EXPECTED[name])
    assert line.startswith("pigdm: ") and line.isprintable() and len(line) > 12


BUGS = {
    "numpy's ValueError": lambda: np.zeros((2, 3)).reshape(5),
    "JAX's ValueError": lambda: jnp.zeros((2, 3)) @ jnp.zeros((2, 3)),
    "JAX's TypeError": lambda: jax.jit(lambda x: x + "a")(1.0),
    "Python's ValueError": lambda: int("x"),
    "a key": lambda: {}["a"],
    "an assertion": raiser(AssertionError("a\nb\x1b[2J")),
    "a foreign ValueError": raiser(ValueError("not ours")),
    "a long message": raiser(KeyError("x" * 10_000)),
}


@pytest.mark.parametrize("name", BUGS)
def test_bugs_say_where_their_report_is(name, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert ended(BUGS[name]) == 70
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and len(line) < 500 and line.strip().isprintable()
    (report,) = tmp_path.iterdir()
    assert str(report) in line
    text = report.read_text()
    for word in ("Traceback", "command: ", "jax: ", "python: ", "test_failures.py"):
        assert word in text


@pytest.mark.parametrize(
    "code, module, answer",
    [
        ("raise ValueError('x')", "pigdm_jax.any", "x"),
        ("raise ValueError('x')", "pigdm_convert.any", "x"),
        ("raise ValueError('x')", "pigdm_jaxx", None),
        ("raise TypeError('x')", "pigdm_jax.any", None),
        ("a, b = 1, 2, 3", "pigdm_jax.any", None),
        ("float('x')", "pigdm_jax.any", None),
        ("try: float('x')\nexcept ValueError: raise", "pigdm_jax.any", None),
    ],
)
def test_only_what_the_package_itself_raises_is_expected(code, module, answer):
    with pytest.raises((ValueError, TypeError)) as caught:
        exec(code, {"__name__": module})
    assert expected(caught.value) == answer


def test_a_bug_whose_report_cannot_be_written_still_ends_in_a_line(capsys, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    assert ended(BUGS["a key"]) == 70
    assert "no report could be written" in capsys.readouterr().err


def test_a_working_folder_that_vanished_is_said(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "working folder" in ended(lambda: Path("a").absolute())
    monkeypatch.undo()


def test_ctrl_c_says_nothing(capsys):
    assert ended(raiser(KeyboardInterrupt())) == 130
    assert capsys.readouterr() == ("", "")


@given(st.text())
def test_lines_never_steer_a_terminal(text):
    assert printable(text).isprintable()


@pytest.mark.parametrize(
    "output, status",
    [("| head -c 1 >/dev/null", 1), (">/dev/full", 1), (">&-", 0), (">&- 2>&-", 0)],
)
def test_output_that_nobody_takes_ends_the_command(output, status):
    script = "from pigdm_jax.cli.failures import failures_answered as f\n"
    script += "with f():\n for i in range(10**5): print('x' * 100)"
    shell = f'"$0" -c "$1" {output}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", shell, sys.executable, script],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == status
    assert done.stderr.count("\n") <= 1 and "Traceback" not in done.stderr


def test_a_fuzzer_finds_no_bug():
    """In a process of its own, since it changes the working folder; see the script."""
    done = fuzzed("fuzz_command.py")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "'status 1'" in done.stdout


def check(*arguments):
    check_arguments(arguments, cli.COMMANDS.values())


@pytest.mark.parametrize("empty", ["", " ", "\t"])
@pytest.mark.parametrize("flag", ["--prior", "--task", "--out", "--cache", "--label"])
def test_empty_arguments_are_refused_by_name(flag, empty):
    for words in ((flag, empty), (f"{flag}={empty}",)):
        with pytest.raises(ValueError, match=f"the value of {flag} is empty"):
            check("restore", "a.png", *words)
    with pytest.raises(ValueError, match="an argument is empty"):
        check("restore", empty)


def test_every_boolean_flag_takes_no_value():
    flags = set().union(*map(boolean_flags, cli.COMMANDS.values()))
    assert {"--simulate", "--plot", "--remat", "--new-attention-order"} <= flags
    for flag in flags:
        for words in ((flag, "true"), (f"{flag}=False",)):
            with pytest.raises(ValueError, match=f"{flag} takes no value: write --"):
                check("restore", *words)
    check("restore", "--prior", "true", "--simulate", "a=.png", "--steps=3")


def test_the_attention_order_is_a_flag(monkeypatch, tmp_path, capsys):
    seen = []
    monkeypatch.setattr(
        "pigdm_jax.weights.conversion.convert", lambda *a: seen.append(a) or []
    )
    (tmp_path / "a.pt").write_bytes(b"")
    for words, value in (
        (["--new-attention-order"], True),
        (["--no-new-attention-order"], False),
        ([], None),
    ):
        file, out = str(tmp_path / "a.pt"), str(tmp_path / "out")
        monkeypatch.setattr("sys.argv", ["pigdm", "convert", file, out, *words])
        cli.main()
        assert seen.pop()[2].new_attention_order is value
    assert not Path("out").exists()
