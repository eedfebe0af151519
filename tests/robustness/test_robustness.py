"""A fixed choice of the cases that ``make robustness`` makes by the thousand."""

import pytest

from .cases import draw, verdict
from .catalogue import GENERATORS, counts

COUNT = 300


@pytest.mark.parametrize("name", GENERATORS)
def test_odd_input_is_refused_by_name_or_taken_as_it_is(name, world, tmp_path):
    generator = GENERATORS[name]
    tried = draw(generator, counts(GENERATORS, COUNT)[name])
    wrong = {}
    for plan in tried:
        if (found := verdict(generator, plan, world)) is not None:
            wrong[str(plan)[:300]] = found
    assert len(tried) == counts(GENERATORS, COUNT)[name]
    assert not wrong, "\n\n".join(f"{plan}\n{found}" for plan, found in wrong.items())
