"""Database URLs: what reaches libpq, and what is said of those that cannot be meant."""

import pytest

from export_pipeline.database_url import libpq_uri, parse_database_url, shown
from export_pipeline.errors import SettingsError
from export_pipeline.exports.control.engine import parse_control_url


def parsed(text: str) -> tuple[str, str]:
    """What libpq gets and what messages show."""
    url = parse_database_url(text, setting="URL", accepted="it looks otherwise")
    return libpq_uri(url, defaults={}), shown(url)


@pytest.mark.parametrize(
    ("text", "sent", "seen"),
    [
        ("://u:p%20w@h/d?options=-c%20search_path%3Dx", "://u:p%20w@h/d?options=-c%20search_path%3Dx", "://u:***@h/d"),
        ("://u:p@h/d?options=-c+search_path%3Dx", "://u:p@h/d?options=-c%20search_path%3Dx", "://u:***@h/d"),
        ("://u:p@h1:1,h2:2/d", "://u:p@h1:1,h2:2/d?", "://u:***@h1:1,h2:2/d"),
        ("://u:p@[::1]:1,[::2]:2/d", "://u:p@[::1]:1,[::2]:2/d?", "://u:***@[::1]:1,[::2]:2/d"),
        ("://h1,h2/d?sslmode=require", "://h1,h2/d?sslmode=require", "://h1,h2/d"),
        (":///d?host=/var/run", ":///d?host=%2Fvar%2Frun", ":///d"),
        ("://u:p#x/y?z@h/d", "://u:p%23x%2Fy%3Fz@h/d?", "://u:***@h/d"),
        ("://u@server:p%2Bq@h:5/d", "://u%40server:p%2Bq@h:5/d?", "://u%40server:***@h:5/d"),
        ("://h/d?password=secret", "://h/d?password=secret", "://h/d"),
    ],
)
def test_what_reaches_libpq_and_what_is_shown(text: str, sent: str, seen: str) -> None:
    assert parsed("postgresql" + text) == ("postgresql" + sent, "postgresql" + seen)


@pytest.mark.parametrize("rest", ["pa@ss@h/d", "pa@ss:1@h:5/d", "pa@ss/1@h/d", "pa@ss?1@h/d", "pa#ss@h:5x/d"])
def test_an_unescaped_password_gets_a_hint_that_shows_nothing_of_it(rest: str) -> None:
    for parse in (parsed, parse_control_url):
        with pytest.raises(SettingsError, match="write @ as %40") as caught:
            parse(f"postgresql://me:{rest}")
        assert "ss" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize(
    ("parameter", "advice"),
    [
        ("schema=x", "options=-csearch_path%3D"),
        ("currentSchema=x", "options=-csearch_path%3D"),
        ("pgbouncer=true", "remove it"),
        ("connection_limit=1", "remove it"),
        ("ssl=true", "sslmode=require"),
        ("sslmode=no-verify", "write sslmode=require"),
    ],
)
def test_parameters_of_other_drivers_come_with_what_to_write_instead(parameter: str, advice: str) -> None:
    with pytest.raises(SettingsError, match="libpq, the PostgreSQL client, does not know") as caught:
        parsed(f"postgresql://u:secret@h/d?{parameter}")
    assert advice in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_control_database_takes_several_hosts_and_keeps_its_options() -> None:
    from export_pipeline.exports.control.engine import make_engine

    engine = make_engine(parse_control_url("postgresql://u:p@h1:1,h2:2/d?options=-csearch_path%3Dx"), timeout=1)
    arguments = engine.dialect.create_connect_args(engine.url)[1]
    assert (arguments["host"], arguments["port"], arguments["dbname"]) == ("h1,h2", "1,2", "d")
    assert engine.url.query["options"] == "-csearch_path=x"
