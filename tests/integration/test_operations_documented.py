"""The examples of docs/api/backup.md, run in their order as a reader would."""

from __future__ import annotations

import shutil
import subprocess
import sys

from tests.support.catalog import Product, environment
from tests.support.documents import blocks, page


def test_the_examples_of_the_page_run_against_a_real_platform(product: Product) -> None:
    shutil.rmtree(product.repository)  # the page makes it
    examples = "\n".join(blocks(page("docs/api/backup.md"), "python"))
    done = subprocess.run(
        [sys.executable, "-c", examples],
        cwd=product.home,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "school_restored: 4 tables and materialized views hold the same 6,306 rows" in done.stdout
    assert "there is no source named 'downloads'" in done.stdout
    assert "original bytes for each stored byte" in done.stdout
    assert product.restored_differences(product.home / "whole") == []
