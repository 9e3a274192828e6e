"""Tasks: parsed from text, with any file names, and converted back to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pigdm_jax.operators.registry import REGISTRY
from pigdm_jax.pictures.task import STAGES, Task


@pytest.mark.parametrize(
    "text",
    [
        "identity",
        "super_resolution:4,box | jpeg:10,4:4:4",
        "inpaint:'a, b.jpg'",
        'inpaint:"x|y.png" | denoise:0.1',
        "inpaint:it's.png",
        "inpaint:mask='a ''quoted'' name.png'",
        "inpaint:freeform,,5",
        "crop:4,6,left=2",
        "blur: kernel.png , circular ",
        "denoise",
        "jpeg",
    ],
)
def test_its_text_parses_back(text):
    task = Task.parse(text)
    assert Task.parse(str(task)) == task


def values(parameter):
    if parameter.kind is str:
        names = st.text(min_size=1).filter(lambda s: s.strip() == s and s != "?")
        choices = st.sampled_from(parameter.choices or ("reflect",))
        return names | choices if parameter.file_kind else choices
    low, high = max(parameter.low, -1000), min(parameter.high, 1000)
    if parameter.kind is int:
        return st.integers(int(low), int(high))
    return st.floats(low, high)


@st.composite
def texts(draw):
    """Stages with every parameter given, file names of any letters in quotes."""
    stages = []
    for name in draw(st.lists(st.sampled_from(list(REGISTRY)), min_size=1, max_size=3)):
        parts = []
        for parameter in REGISTRY[name].parameters:
            # Not every mask has them.
            if (name, parameter.name) in (("inpaint", "amount"), ("inpaint", "seed")):
                continue
            value = draw(values(parameter))
            if isinstance(value, str):
                value = "'" + value.replace("'", "''") + "'"
            parts.append(f"{parameter.name}={value}")
        stages.append(f"{name}:{','.join(parts)}" if parts else name)
    return " | ".join(stages)


@given(texts())
def test_any_text_parses_back(text):
    task = Task.parse(text)
    assert Task.parse(str(task)) == task


@given(st.text())
def test_any_text_parses_or_raises_a_value_error(text):
    try:
        Task.parse(text)
    except ValueError as error:
        assert str(error)


@given(st.text(min_size=1))
def test_a_stem_may_hold_anything(stem):
    task = Task.parse("inpaint:masks/{stem}.png | denoise:0.1").of(stem)
    assert task.stages[0].files() == [f"masks/{stem}.png"]
    assert Task.parse(str(task)) == task


def test_a_task_knows_its_enlargement_its_files_and_its_noise():
    assert Task.parse("jpeg:10").enlargement == 1
    assert Task.parse("super_resolution:4 | grayscale").enlargement == 4
    task = Task.parse("super_resolution:2 | super_resolution:3,box | denoise:0.05")
    assert (task.enlargement, task.noise) == (6, 0.05)
    assert task.operator((24, 24, 3)).measurement_shape == (4, 4, 3)
    assert Task.parse("super_resolution:2 | jpeg").reads_header
    assert not Task.parse("jpeg:10").reads_header
    assert not Task.parse("grayscale").reads_header
    assert Task.parse("inpaint:{stem}.png").names_stem
    assert not Task.parse("inpaint:center").names_stem


def test_a_noise_level_comes_from_the_task_or_the_flag():
    assert Task.parse("denoise").noise is None
    assert Task.parse("denoise").estimates_noise
    assert not Task.parse("denoise:0").estimates_noise
    assert not Task.parse("grayscale").estimates_noise
    automatic = Task.parse("grayscale").with_noise("auto")
    assert automatic.estimates_noise and str(automatic) == "grayscale | denoise"
    assert Task.parse("denoise").with_noise("auto") == Task.parse("denoise")
    with pytest.raises(ValueError, match="given twice: --noise auto"):
        Task.parse("denoise:0.1").with_noise("auto")
    assert str(Task.parse("denoise").with_noise(0.2)) == "denoise:0.2"
    assert Task.parse("grayscale").with_noise(None) == Task.parse("grayscale")
    assert str(Task.parse("grayscale").with_noise(0.1)) == "grayscale | denoise:0.1"
    with pytest.raises(ValueError, match="given twice"):
        Task.parse("denoise:0.1").with_noise(0.2)
    with pytest.raises(ValueError, match="pixels from 0 to 1"):
        Task.parse("denoise").with_noise(25)
    with pytest.raises(ValueError, match="std must be a number from 0 to 1"):
        Task.parse("denoise:25")


def test_every_stage_has_a_line_for_the_user():
    assert all(named.summary.endswith(".") for named in STAGES.values())
