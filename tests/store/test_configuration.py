"""Where results live is said by an option, the environment, a file beside the study, or nothing."""

import re
from pathlib import Path

import pytest

from harness.store import configuration
from harness.store.configuration import ConfigurationError, choose, decisions, locate
from harness.store.locations import STORAGE, TRACKING, Locations

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "shared_store.md"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory, without variables."""
    monkeypatch.chdir(tmp_path)
    for key in configuration.DEFAULTS:
        monkeypatch.delenv(configuration.variable(key), raising=False)
    return tmp_path


def write(text, folder="."):
    Path(folder).mkdir(exist_ok=True)
    path = Path(folder, configuration.FILE)
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_said_is_the_default():
    assert locate() == Locations(Path("."), TRACKING, STORAGE) and decisions() == []


def test_an_option_stands_above_the_environment_the_file_and_the_default(monkeypatch):
    def said():
        choice = choose("small", {"tracking": option})["tracking"]
        return choice.value, choice.place

    option = None
    assert said() == (TRACKING, "default")
    write('tracking = "http://file"')
    assert said() == ("http://file", "harness.toml")
    monkeypatch.setenv("HARNESS_TRACKING", "http://environment")
    assert said() == ("http://environment", "HARNESS_TRACKING")
    option = "http://option"
    assert said() == ("http://option", "--tracking")
    assert decisions("small", tracking=option) == ["tracking: http://option (--tracking)"]


def test_the_file_beside_the_study_counts_alone_and_its_folder_is_relative_to_it():
    write('tracking = "http://here"')
    write('folder = "results"\nstorage = "postgresql://me:s3cret@h/n"', "studies")
    locations = locate("studies/far.yaml")
    assert (locations.folder, locations.tracking) == (Path("studies/results"), TRACKING)
    assert locate("far").tracking == "http://here" == locate({"study": "far"}).tracking
    assert "s3cret" not in "".join(decisions("studies/far.yaml"))
    assert locate("studies/far.yaml", folder="out").folder == Path("out")


def test_a_hint_says_what_a_command_does_not_find_by_itself(monkeypatch):
    write('tracking = "http://here"', "studies")
    assert locate("studies/far.yaml").options == " --tracking http://here"
    write('tracking = "http://here"')
    assert locate("studies/far.yaml").options == ""
    monkeypatch.setenv("HARNESS_FOLDER", "out")
    assert locate("small").options == ""
    assert locate("small", ".", TRACKING).options == f" --folder . --tracking {TRACKING}"


def test_where_packs_train_is_said_in_the_same_places(monkeypatch):
    assert configuration.executor("small") == ("inline", "auto")
    write('executor = "ray"\nexecutor_address = "host:6379"')
    assert configuration.executor("small") == ("ray", "host:6379")
    assert "executor_address: host:6379 (harness.toml)" in decisions("small")
    monkeypatch.setenv("HARNESS_EXECUTOR_ADDRESS", "local")
    assert configuration.executor("small") == ("ray", "local")
    assert configuration.executor("small", "inline", "auto") == ("inline", "auto")
    given = {"executor_address": "auto"}
    assert choose("small", given)["executor_address"].place == "--executor-address"


def test_another_kind_of_executor_is_refused_with_the_place_that_says_it():
    with pytest.raises(ConfigurationError, match=r"one of inline, ray, but got executor=dask \(--"):
        configuration.executor("small", "dask")
    write('executor = "dask"')
    with pytest.raises(ConfigurationError, match=r"but got executor=dask \(harness.toml\). Use"):
        configuration.executor("small")


def test_a_wrong_file_is_told_whole():
    path = write('trackin = "x"\nzzz = 1\nstorage = 3\nfolder = ""\n[tracking]\na = 1')
    with pytest.raises(ConfigurationError) as raised:
        locate()
    lines = str(raised.value).splitlines()
    assert len(lines) == 5 and all(line.startswith(f"{path}: ") for line in lines)
    assert "'trackin'. Did you mean tracking?" in lines[0]
    assert (
        "'zzz'. Remove it, or write one of folder, tracking, storage, executor, executor_address."
        in lines[1]
    )
    assert "storage must be text in quotation marks, but got int 3." in lines[2]
    assert "folder must not be empty" in lines[3] and "got dict" in lines[4]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'tracking = "a\n', "line 1"),
        (b"\xff", "utf-8"),
        (b"#" * (configuration.MAX_BYTES + 1), "larger than"),
        (None, "Is a directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(folder, content, why):
    path = folder / configuration.FILE
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="must be a readable TOML file") as raised:
        locate()
    assert why in str(raised.value) and "\n" not in str(raised.value)


def test_no_error_quotes_a_password():
    write('storage = "postgresql://h/n?user=me&password=s3cret"\nx = "http://me:s3cret@h"')
    with pytest.raises(ConfigurationError) as raised:
        locate()
    assert "s3cret" not in str(raised.value)
    write('storage = "postgresql://h/n?user=me&password=s3cret"')
    assert decisions() == ["storage: postgresql://h/n?user=me&password=*** (harness.toml)"]


def test_the_files_of_the_page_are_right(folder):
    blocks = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        assert configuration.read(write(block))
