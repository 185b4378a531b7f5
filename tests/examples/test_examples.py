"""The scripts of ``examples/`` learn, in few updates, and stay as short as they claim to be."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tagger_learns_what_comes_later(capsys):
    assert example("tagger").main(updates=60) > 0.75  # guessing: 0.57
    assert "update 0: loss 0." in capsys.readouterr().out


def test_the_character_model_learns_and_writes(tmp_path, text):
    model = example("char_model")
    path = tmp_path / "text.txt"
    path.write_text(Path(text).read_text(encoding="utf-8") * 2, encoding="utf-8")
    loss, written = model.main(path, updates=40)
    assert loss < 2.0  # of 20 different characters: 3.0 where nothing was learned
    assert len(written) == 61 and model.TEXT.is_file()


def test_the_forecaster_beats_the_last_value():
    error, naive = example("forecaster").main(updates=60)
    assert error < 0.5 * naive


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
