"""Whatever a user may call is found as `minigrad.<name>`, and says what it does."""

import pytest

import minigrad

OWN = [name for name, op in minigrad.OPS.items() if op.__module__.startswith("minigrad.")]  # not those of tests


@pytest.mark.parametrize("name", OWN)
def test_every_op_is_exported_under_its_name(name):
    assert name in minigrad.__all__, f"there is no mg.{name}: export it in minigrad/__init__.py"
    exported = getattr(minigrad, name)
    # concat([a, b]) and stack([a, b]) unpack their list, then call the op: a function of the same name and module.
    assert (exported.__name__, exported.__module__) == (name, minigrad.OPS[name].__module__)


@pytest.mark.parametrize("name", minigrad.__all__)
def test_every_exported_name_exists_and_says_what_it_does(name):
    exported = getattr(minigrad, name)
    assert name == "OPS" or (exported.__doc__ or "").strip()


def test_no_name_is_exported_twice():
    assert len(set(minigrad.__all__)) == len(minigrad.__all__)
