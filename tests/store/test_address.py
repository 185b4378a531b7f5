"""Where stores are, and that what is said of it holds no password."""

import io

import pytest
from rich.console import Console

from harness.runner.progress import Display
from harness.store import databases, presence
from harness.store.address import StoreError, without_passwords
from harness.store.locations import Locations


@pytest.mark.parametrize(
    "password", ["s3cr3t", "s3/cr3t", "s3'cr3t", "s3@cr3t", "s3?cr3t", "s3:cr3t"]
)
@pytest.mark.parametrize("user", ["me", "", "me@here"])
@pytest.mark.parametrize("rest", ["host/db", "host:5432/db?options=-csearch_path%3Da&x=1"])
def test_no_sign_in_a_password_shows_it(user, password, rest):
    url = f"postgresql+psycopg2://{user}:{password}@{rest}"
    for text in (url, f"uri={url!r}: no answer, http://host:5000/#/a is one", f"({url}, {url})"):
        told = without_passwords(text)
        assert "s3" not in told and "cr3t" not in told and rest in told
    assert "http://host:5000/#/a is one" in without_passwords(f"{url} http://host:5000/#/a is one")


@pytest.mark.parametrize("password", ["s3cr3t", "s3/cr3t", "s3'cr3t"])
def test_nor_does_an_option(password):
    url = f"postgresql://host/db?user=me&password={password}&x=1"
    assert without_passwords(f"got {url!r}.") == (f"got {url!r}.".replace(password, "***"))
    assert without_passwords("'mysql://h/d?passwd=s3'.") == "'mysql://h/d?passwd=***'."


@pytest.mark.parametrize(
    "text", ["http://host:5000/a/b, then c@d", "sqlite:////a/b@c:d/mlflow.db", "https://h/p"]
)
def test_what_has_no_password_stays(text):
    assert without_passwords(text) == text


def test_a_line_of_the_display_holds_no_password():
    out = io.StringIO()
    Display(Console(file=out, width=200)).say("postgresql://me:s3/cr3t@host/db is away")
    assert out.getvalue() == "postgresql://me:***@host/db is away\n"


def test_addresses_of_postgresql_are_read_as_sqlalchemy_reads_them():
    url = "postgresql://me:s3/cr3t@host/db"
    assert databases.is_one_schema(url, "postgresql+psycopg2://you@host:5432/db")
    assert databases.is_one_schema(url, "postgresql:///db?host=host")
    assert not databases.is_one_schema(url, "postgresql://me:s3/cr3t@host/other")
    assert not databases.is_one_schema(url, f"{url}?options=-csearch_path%3Dmine")
    with pytest.raises(StoreError, match="must be one that SQLAlchemy reads") as told:
        databases.is_one_schema(url, "postgresql://me:s3/cr3t@host:port/db")
    assert "cr3t" not in str(told.value)


def test_an_address_that_leads_nowhere_is_told_before_anything_is_made(tmp_path):
    locations = Locations(tmp_path, storage="redis://me:cr3t@host/db")
    with pytest.raises(StoreError, match="must be one that SQLAlchemy reads") as told:
        presence.await_readable(locations)
    assert "cr3t" not in str(told.value)
    assert list(tmp_path.iterdir()) == []
