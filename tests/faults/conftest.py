"""Tests of faults that keep their repository in memory run in buckets of real servers, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.s3_stores import BucketObjects, new_bucket, remove_bucket
from tests.support.stores import MemoryStore, kept_in

IN_EVERY_CI_RUN = {("test_crashes", "rclone")}
"""Modules whose tests CI repeats in a bucket; `make nightly` repeats all of them in both."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test of a module that has stores in memory in each place."""
    if MemoryStore not in vars(metafunc.module).values() or metafunc.definition.get_closest_marker("in_memory_only"):
        return
    module = metafunc.module.__name__.rpartition(".")[2]
    buckets = [
        pytest.param(kind, marks=pytest.mark.slow if (module, kind) in IN_EVERY_CI_RUN else pytest.mark.nightly)
        for kind in ("rclone", "swift")
    ]
    metafunc.parametrize("place_of_objects", ["memory", *buckets], indirect=True, scope="function")


@pytest.fixture(autouse=True)
def place_of_objects(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have what a test calls memory be the place that its name says."""
    kind = getattr(request, "param", "memory")
    if kind == "memory":
        yield
        return
    server = request.getfixturevalue(kind)
    bucket = new_bucket(server)
    keys: Path = tmp_path_factory.mktemp("keys")
    with kept_in(lambda objects: BucketObjects(server, bucket, keys, objects)):
        yield
    remove_bucket(server, bucket)
