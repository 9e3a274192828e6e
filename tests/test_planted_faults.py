"""The list of faults still fits the code; planting them all takes minutes."""

import pytest
from planted_faults import FAULTS, ROOT


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_can_be_planted(fault):
    text = (ROOT / "pigdm_jax" / fault.file).read_text()
    assert text.count(fault.right) == 1 and fault.wrong != fault.right
