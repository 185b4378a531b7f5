"""How a study's file is read: scalars as YAML 1.2 has them, places, files that are no text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from two_studies import CROSS

from harness import study
from harness.study import reader


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("+.5", 0.5),
        ("-12", -12),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("True", True),
        ("~", None),
        ("none", "none"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("'1e-3'", "1e-3"),
        ("-.inf", float("-inf")),
        ("0x10", "0x10"),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    document = reader.read(text, "test")
    assert document.data == value and type(document.data) is type(value) and not document.problems


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**9), 10**9)
        | st.floats(allow_nan=False)
        | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")))
        | st.sampled_from(["1e3", "no", "300_000", "08", "~", "<<", "- a", "a: b", ".inf"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.text("abc=<,. 1", min_size=1).filter(lambda key: key != "<<"), inner, max_size=3
            )
        ),
        max_leaves=8,
    )
)
def test_what_is_dumped_is_read_back(value):
    document = reader.read(study.dump(value), "test")
    assert document.data == value and not document.problems


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("[1,000]", ["1,000"]),
        ("[500, 1,000, 12,345,678]", [500, "1,000", "12,345,678"]),
        ("[1,500, 2,500]", ["1,500", "2,500"]),
        ("[ 1,000,2,000 ,3 ]", ["1,000", "2,000", 3]),
        ("[1,500,2,500]", ["1,500", "2,500"]),
        ("[1,500]", [1, 500]),  # nothing says where a number ends
        ("[128,256,512]", [128, 256, 512]),
        ("[64,128, 256]", [64, 128, 256]),
        ("[256,128]", [256, 128]),
        ("[512,256, 128]", [512, 256, 128]),
        ("[1, 500, 2, 500]", [1, 500, 2, 500]),
    ],
)
def test_commas_within_the_numbers_of_a_list_are_seen(text, items):
    assert reader.read(f"a: {text}", "test").data == {"a": items}


def test_a_number_with_commas_in_a_list_is_told_with_what_to_write():
    text = CROSS.replace("{cell: [", "{hidden_size: [1,000, 2,000], cell: [", 1)
    with pytest.raises(study.StudyError) as caught:
        study.loads(text)
    (said, *_) = [line for line in str(caught.value).splitlines() if "1,000" in line]
    assert "must be a whole number, but got hidden_size='1,000'. Write 1000." in said


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("[1,000]", "Write batch_size: 1000."),
        (
            "[1,000, 2,000]",
            "To compare these values, move them to compare: {cross: {batch_size: [1000, 2000]}}",
        ),
    ],
)
def test_what_is_to_be_written_for_numbers_with_commas_has_none(text, remedy):
    with pytest.raises(study.StudyError) as caught:
        study.loads(CROSS, "x", [f"fix.batch_size={text}"])
    assert remedy in str(caught.value)


def test_values_have_places():
    document = reader.read("a:\n  b: [1, {c: 2}]\n", "test")
    assert document.keys[("a", "b", 1, "c")] == (2, 11) and document.values[("a", "b", 1, "c")] == (
        2,
        14,
    )


def test_deep_nesting_is_refused():
    with pytest.raises(
        study.StudyError,
        match="must be valid YAML, but got a fault: it nests deeper than 20 levels",
    ):
        study.loads("[" * 5000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"study: a\nquestion: \xe9\n",
            r"bad.yaml:2:11: study file: must be UTF-8, but got byte=0xe9. Save it",
        ),
        (
            b"#" * 1_000_001,
            "bad.yaml:1:1: study file: must have at most 1000000 bytes, but got more",
        ),
        (b'study: "\\U00110000"\n', "YAML: must be valid YAML, but got a fault: chr"),
        (
            b"study: \x00\n",
            r"bad.yaml:1:8: YAML: must be printable text, but got character=0x0. Remove it",
        ),
    ],
)
def test_files_that_are_no_text(tmp_path, content, message):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(study.StudyError, match=message):
        study.load(path)


def test_a_missing_file():
    with pytest.raises(
        study.StudyError,
        match=r"absent.yaml:1:1: study file: must exist, but got path='absent.yaml'\. `harness",
    ):
        study.load("absent.yaml")
