"""Settings: file < environment < flags, and one sentence for what cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from disco.errors import SettingsError
from disco.settings import Settings


def test_defaults_bind_loopback() -> None:
    settings = Settings.load(environ={})
    assert (settings.host, settings.port, settings.aggregation.interval) == ("127.0.0.1", 8080, 30.0)


def test_by_default_the_last_ten_rounds_and_every_hundredth_are_kept_and_stopping_takes_ten_seconds() -> None:
    settings = Settings.load(environ={})
    assert (settings.storage.keep_last, settings.storage.keep_every, settings.graceful) == (10, 100, 10.0)


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "disco.toml"
    config.write_text('port = 1\nhost = "10.0.0.1"\n[aggregation]\ninterval = 1\n[limits]\npeers = 7\n')
    settings = Settings.load(
        {"port": "3", "host": None},
        {"DISCO_PORT": "2", "DISCO_AGGREGATION_INTERVAL": "2.5"},
        config,
    )
    assert (settings.port, settings.host, settings.aggregation.interval) == (3, "10.0.0.1", 2.5)
    assert settings.limits.peers == 7


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    config = tmp_path / "disco.toml"
    config.write_text("port = 1234\n")
    assert Settings.load(environ={"DISCO_CONFIG": str(config)}).port == 1234


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"DISCO_PORT": "many"}, "DISCO_PORT must be a whole number, not 'many'"),
        ({"DISCO_PORT": "70000"}, "DISCO_PORT must be a TCP port from 0 to 65535, not 70000"),
        ({"DISCO_PORT": "-1"}, "DISCO_PORT must be a TCP port from 0 to 65535, not -1"),
        ({"DISCO_LOG_LEVEL": "loud"}, "DISCO_LOG_LEVEL must be one of debug, info"),
        ({"DISCO_AGGREGATION_INTERVAL": "0"}, "DISCO_AGGREGATION_INTERVAL must be above 0, not 0.0"),
        ({"DISCO_AGGREGATION_INTERVAL": "nan"}, "DISCO_AGGREGATION_INTERVAL must be above 0, not nan"),
        ({"DISCO_LIMITS_BODY_BYTES": "1.5"}, "DISCO_LIMITS_BODY_BYTES must be a whole number, not '1.5'"),
        ({"DISCO_HOST": ""}, "DISCO_HOST must be an address"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_what_it_may_be(
    environ: dict[str, str], sentence: str
) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.load(environ=environ)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ("prot = 1", "prot in "),
        ("[limits]\npears = 1", "limits.pears in "),
        ("port = true", "port in "),
        ("port = 1.5", "port in "),
        ("port", ""),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, toml: str, sentence: str) -> None:
    config = tmp_path / "disco.toml"
    config.write_text(toml)
    with pytest.raises(SettingsError) as error:
        Settings.load(environ={}, config=config)
    assert str(error.value).startswith(sentence)
    assert str(config) in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        Settings.load(environ={}, config=tmp_path / "none.toml")


def test_the_medium_is_disk_or_memory() -> None:
    assert Settings.load({"storage.medium": "memory"}, {}).storage.durable is False
    assert Settings.load({}, {}).storage.durable is True
    with pytest.raises(SettingsError, match="DISCO_STORAGE_MEDIUM must be one of disk, memory, not tape"):
        Settings.load({}, {"DISCO_STORAGE_MEDIUM": "tape"})
