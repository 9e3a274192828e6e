"""Checks of the functions behind the page; `test_app_served.py` runs this script."""

import gradio

import pigdm_jax.app
from pigdm_jax.app.examples import EXAMPLES


def desk_of(page):
    """The object whose methods the page calls."""
    return next(f.fn.__self__ for f in page.fns.values() if f.name == "choose")


def asked_by(name: str):
    """A request of a visitor."""
    return gradio.Request(session_hash=name)


def only_parameters_that_matter_are_shown(page):
    desk = desk_of(page)
    parts, request = desk.parts, asked_by("x")
    values = [c.value for c in parts.settings]
    first = parts.rows[0]
    kind = 1  # the place of the first damage, behind `simulate`

    def shown(kind_name: str, simulate: bool) -> set:
        given = list(values)
        given[0], given[kind] = simulate, kind_name
        count = 1 + sum(1 + len(row.fields) for row in parts.rows)
        updates = desk.choose(request, *given[:count])
        visible = {
            key
            for key, field in first.fields.items()
            if updates.get(field, {}).get("visible", True)
            and updates[first.groups[key[0]]]["visible"]
        }
        painted = updates[parts.mask_group]["visible"]
        return {name for _, name in visible} | ({"mask"} if painted else set())

    assert shown("small", False) == {"factor", "kernel"}
    assert shown("holes", False) == {"mask"}
    assert shown("holes", True) == {"where", "mask"}
    assert shown("noisy", False) == {"estimated"}
    assert shown("noisy", True) == {"level"}
    assert shown("jpeg", True) == {"quality"}
    assert shown("grey", False) == set()


def photo_is_planned_and_grey_gets_its_sampler(page):
    desk = desk_of(page)
    parts, request = desk.parts, asked_by("y")
    updates = desk.take_photo(str(EXAMPLES[2].photo), request)
    assert "128 x 128 pixels, a JPEG file of about quality 10" in updates[parts.about]
    values = [c.value for c in parts.settings]
    values[1] = "jpeg"
    assert "10 evaluations" in desk.plan(request, *values)
    values[1] = None
    assert "Choose what happened" in desk.plan(request, *values)
    values[values.index("photos-64")] = "/etc"
    assert "not on the server" in desk.plan(request, *values)
    grey = desk.suggest("grey", "automatic", 0)
    assert grey == {parts.sampler: "ddnm", parts.steps: 20}
    assert (
        "Choose a prior of the list" in next(desk.download("/etc"))[parts.download_note]
    )
    desk.visitors.forget("y")


def everything_has_a_label(page):
    unnamed = [
        block
        for block in page.blocks.values()
        if block.get_block_name() in ("dropdown", "slider", "number", "checkbox")
        and not block.label
    ]
    assert not unnamed


def main() -> None:
    """Run the checks; print a word for each that passes."""
    page = pigdm_jax.app.page(show=False, warm=False)
    only_parameters_that_matter_are_shown(page)
    print("shown")
    photo_is_planned_and_grey_gets_its_sampler(page)
    print("planned")
    everything_has_a_label(page)
    print("labelled")
    page.close(verbose=False)


if __name__ == "__main__":
    main()
