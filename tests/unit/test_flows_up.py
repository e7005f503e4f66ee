"""What `make up` starts with: which configuration, which ports, which environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from edurise_backup.config import load_settings
from edurise_backup.errors import ConfigError
from flows import up
from flows.local import prefect_environment
from flows.processes import free_port
from flows.services import commands

ROOT = Path(__file__).resolve().parents[2]


def test_the_named_configuration_comes_before_all_others(tmp_path: Path) -> None:
    (tmp_path / "edurise-backup.toml").touch()
    assert up.configuration(tmp_path, {"EDURISE_CONFIG": "/etc/edurise.toml"}) == Path("/etc/edurise.toml")


def test_the_checkout_s_own_configuration_comes_before_the_demonstration_s(tmp_path: Path) -> None:
    (tmp_path / ".demo").mkdir()
    (tmp_path / ".demo" / "edurise-backup.toml").touch()
    assert up.configuration(tmp_path, {}) == tmp_path / ".demo" / "edurise-backup.toml"
    (tmp_path / "edurise-backup.toml").touch()
    assert up.configuration(tmp_path, {}) == tmp_path / "edurise-backup.toml"


def test_without_any_configuration_an_empty_one_is_made_and_kept(tmp_path: Path) -> None:
    path = up.configuration(tmp_path, {})
    settings = load_settings(path, environment={})
    assert settings.data_directory == tmp_path / ".up" / "data"
    assert settings.databases == settings.files == ()
    path.write_text(path.read_text() + "# a person's own line\n")
    assert up.configuration(tmp_path, {}).read_text().endswith("own line\n")


@pytest.mark.parametrize("text", ["0", "65536", "-1", "4200x", "", "４２００"])
def test_what_is_not_a_port_is_refused_with_its_variable(text: str) -> None:
    with pytest.raises(ConfigError, match=up.PREFECT_PORT):
        up.port({up.PREFECT_PORT: text}, up.PREFECT_PORT)


def test_all_services_share_one_environment(tmp_path: Path) -> None:
    (tmp_path / "edurise-backup.toml").write_text('data_directory = "data"\n')
    prefect, dashboard, metrics = str(free_port()), str(free_port()), str(free_port())
    environment = up.service_environment(
        tmp_path, {up.PREFECT_PORT: prefect, up.DASHBOARD_PORT: dashboard, up.METRICS_PORT: metrics}
    )
    assert environment["PREFECT_HOME"] == str(tmp_path / "data" / "prefect")
    assert environment["PREFECT_API_URL"] == f"http://127.0.0.1:{prefect}/api"
    assert environment["EDURISE_CONFIG"] == str(tmp_path / "edurise-backup.toml")
    assert (environment[up.DASHBOARD_PORT], environment[up.METRICS_PORT]) == (dashboard, metrics)


def test_prefect_settings_of_the_caller_do_not_take_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "canary")
    monkeypatch.setenv("PREFECT_API_URL", "https://elsewhere.example/api")
    environment = prefect_environment(tmp_path, 4200, None)
    assert "PREFECT_API_KEY" not in environment
    assert environment["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_the_procfile_names_every_service(tmp_path: Path) -> None:
    lines = (ROOT / "Procfile").read_text().splitlines()
    named = {name: command.split()[-1] for name, _, command in (line.partition(":") for line in lines)}
    assert set(named) == {*commands({up.DASHBOARD_PORT: "1", up.METRICS_PORT: "2"}), "flows"}
    assert named.pop("flows") == "flows.serve"
    assert all(name == argument for name, argument in named.items())
