"""Where the time goes: the names of the stages are those of functions that exist, and work is put to its stage."""

from __future__ import annotations

import importlib

import pytest

from edurise_backup.machine import sampling
from edurise_backup.machine.sampling import OTHER, STAGES, Sampler, Spent
from edurise_backup.model.content import blob_id


@pytest.mark.parametrize(("module", "function"), STAGES)
def test_every_stage_names_a_function_that_is_called_so(module: str, function: str) -> None:
    found: object = importlib.import_module(f"edurise_backup.{module}")
    for name in function.split("."):
        found = getattr(found, name)
    code = getattr(getattr(found, "__wrapped__", found), "__code__")  # noqa: B009  mypy knows no function here
    assert code.co_qualname == function


def test_work_is_put_to_its_stage_and_nothing_is_counted_afterwards() -> None:
    with Sampler() as sampler:
        assert sampling.running() is sampler
        while sampler.spent().get("hash", Spent()).cpu == 0.0:
            blob_id(bytes(1 << 20))
    assert sampling.running() is None
    spent = sampler.spent()
    assert spent["hash"].wall > 0
    assert spent["hash"].cpu > 0
    assert sampler.spent() == spent


def test_what_other_processes_have_spent_is_added() -> None:
    with Sampler() as sampler:
        sampler.take_in({"seal": Spent(1.5, 2.0)})
        sampler.take_in({"seal": Spent(0.5, 1.0), OTHER: Spent(0.0, 100.0)})
    assert sampler.spent()["seal"] == Spent(2.0, 3.0)
    assert sampler.spent()[OTHER].wall >= 100.0
