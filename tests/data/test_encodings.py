"""Texts in the encodings that people's files have, and what is said of them."""

import re
import subprocess

import pytest

from harness.data import DataError
from harness.data.encodings import decode

CHINESE = (
    "时间旅行者（这样称呼他比较方便）正在给我们讲解一个深奥的问题。他那双灰色的眼睛闪闪发光，"
    "平时苍白的脸上泛着红晕，充满了生气。\n"
)
TRADITIONAL = (
    "時間旅行者（這樣稱呼他比較方便）正在給我們講解一個深奧的問題。他那雙灰色的眼睛閃閃發光，"
    "平時蒼白的臉上泛著紅暈，充滿了生氣。\n"
)
JAPANESE = (
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で"
    "ニャーニャー泣いていた事だけは記憶している。\n"
)
KOREAN = (
    "시간 여행자는 우리에게 난해한 문제를 설명하고 있었다. 그의 회색 눈은 반짝였고, "
    "평소에는 창백하던 얼굴이 붉게 상기되어 있었다.\n"
)
RUSSIAN = (
    "Путешественник по Времени (будем называть его так для удобства) рассказывал нам о чрезвычайно "
    "сложной проблеме. Его серые глаза сияли, и лицо, обычно бледное, разрумянилось.\n"
)
GREEK = "Ο Ταξιδιώτης του Χρόνου μας εξηγούσε ένα δύσκολο ζήτημα. Τα γκρίζα μάτια του έλαμπαν.\n"
FRENCH = (
    "L’Explorateur du Temps (car c’est ainsi que pour plus de commodité nous l’appellerons) nous "
    "exposait un mystérieux problème. «\xa0Là-bas, ça et là, l’été…\xa0»\n"
)
GERMAN = (
    "Der Zeitreisende (so wollen wir ihn der Bequemlichkeit halber nennen) erläuterte uns eine "
    "schwierige Angelegenheit. Seine grauen Augen glänzten, „größer“ als je.\n"
)
SPANISH = (
    "¿Qué? El Viajero a través del Tiempo (pues convendrá llamarle así al hablar de él) nos "
    "exponía una misteriosa cuestión. ¡Mañana, año, señor!\n"
)
POLISH = (
    "Podróżnik w Czasie (wygodnie będzie tak o nim mówić) wyjaśniał nam zawiłe zagadnienie. "
    "Jego szare oczy błyszczały.\n"
)
CZECH = (
    "Cestovatel časem (tak ho budeme pro pohodlí nazývat) nám vykládal složitou věc. "
    "Jeho šedé oči zářily a třpytily se.\n"
)
ENGLISH = "The Time Traveller (for so it will be convenient to speak of him)\n"
COMMENT = "x = 1  # 变量的名称\n"


def complaint(content, file="text.txt"):
    """Returns what is said of bytes."""
    with pytest.raises(DataError) as caught:
        decode(content, file, file)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *("20 °C", "temperature (°C),date", "12°", "-3.5°C and 7°F", "µm", "5 ± 2 m²", "3 × 4"),
        *("café", "naïve", "El Niño 3.4", "Größe", "résumé", "créée", "Ærøskøbing", "£ 5"),
        *("© 2020 A. Müller", "“Yes,” she said.", "it’s", "a – b", "½ cup", "Señor", "100 €"),
        *("Malmö, Sverige", "São Paulo", "garçon, élève, été"),
    ],
)
def test_a_few_western_signs_among_ascii_are_windows_1252(text):
    content = f"A line of plain text, and: {text}\n".encode("cp1252")
    assert "looks like Windows-1252 (Western European). " in complaint(content)


@pytest.mark.parametrize(
    ("word", "codec", "title"),
    [
        ("слово", "cp1251", "Windows-1251 (Cyrillic)"),
        ("слово", "koi8_r", "KOI8-R (Cyrillic)"),
        ("名称", "gb18030", "GB18030 (Chinese)"),
    ],
)
def test_one_word_of_another_alphabet_among_ascii_is_told(word, codec, title):
    content = f"A line of plain text, and: {word}\n".encode(codec)
    assert f"looks like {title}. " in complaint(content)


@pytest.mark.parametrize("repetitions", [1, 3000], ids=["short", "long"])
@pytest.mark.parametrize(
    ("text", "codec", "title"),
    [
        (CHINESE, "gb18030", "GB18030 (Chinese)"),
        (TRADITIONAL, "gb18030", "GB18030 (Chinese)"),
        (ENGLISH + COMMENT, "gb18030", "GB18030 (Chinese)"),
        (TRADITIONAL, "big5", "Big5 (Chinese)"),
        (JAPANESE, "shift_jis", "Shift-JIS (Japanese)"),
        (JAPANESE, "euc_jp", "EUC-JP (Japanese)"),
        (KOREAN, "euc_kr", "EUC-KR (Korean)"),
        (RUSSIAN, "cp1251", "Windows-1251 (Cyrillic)"),
        (RUSSIAN, "koi8_r", "KOI8-R (Cyrillic)"),
        (GREEK, "cp1253", "Windows-1253 (Greek)"),
        (FRENCH, "cp1252", "Windows-1252 (Western European)"),
        (GERMAN, "cp1252", "Windows-1252 (Western European)"),
        (SPANISH, "latin_1", "Windows-1252 (Western European)"),
        (POLISH, "cp1250", "Windows-1250 (Central European)"),
        (CZECH, "cp1250", "Windows-1250 (Central European)"),
        (ENGLISH, "utf_16_le", "UTF-16-LE without its mark"),
        (ENGLISH, "utf_16_be", "UTF-16-BE without its mark"),
        (ENGLISH, "utf_32_le", "UTF-32-LE without its mark"),
        (FRENCH, "utf_16_le", "UTF-16-LE without its mark"),
        (CHINESE, "utf_16_le", "UTF-16-LE without its mark"),
        (RUSSIAN, "utf_16_be", "UTF-16-BE without its mark"),
        (ENGLISH, "utf_16", "UTF-16 by its mark"),
        (CHINESE, "utf_16", "UTF-16 by its mark"),
        (ENGLISH, "utf_32", "UTF-32 by its mark"),
    ],
)
def test_a_text_is_told_by_what_it_is_and_the_command_converts_it(
    tmp_path, text, codec, title, repetitions
):
    text *= repetitions if title != "GB18030 (Chinese)" or text != ENGLISH + COMMENT else 1
    file = tmp_path / "my text.txt"
    file.write_bytes(text.encode(codec))
    said = complaint(file.read_bytes(), str(file))
    assert f" {title}. Convert it" in said
    target = tmp_path / "my text.utf8.txt"
    command = re.search("iconv .*", said)[0]
    assert command.endswith(f" -t UTF-8 '{file}' > '{target}'")
    subprocess.run(command, shell=True, check=True)
    assert decode(target.read_bytes(), target, target).removeprefix("\ufeff") == text


@pytest.mark.parametrize(
    ("content", "byte", "offset"),
    [
        ("naïve".encode("latin_1"), "0xef", 2),
        (ENGLISH.encode() + FRENCH.encode("cp1252"), "0x92", len(ENGLISH) + 1),
        (ENGLISH.encode("utf_16"), "0xff", 0),
        (ENGLISH.encode("utf_16_le"), "0x00", 1),
        (ENGLISH.encode("utf_16_be"), "0x00", 0),
    ],
)
def test_the_first_fault_is_told(content, byte, offset):
    assert f"text.txt: must be UTF-8, but got byte={byte} at offset={offset} and " in complaint(
        content
    )


def test_what_one_byte_a_character_looks_like_is_to_be_looked_at():
    assert "Convert it and look at the result: iconv -f CP1252" in complaint(
        FRENCH.encode("cp1252")
    )
    assert "Convert it: iconv -f GB18030" in complaint(CHINESE.encode("gb18030"))


@pytest.mark.parametrize(
    ("damage", "faults"),
    [(lambda b: b[:-2], "1 fault"), (lambda b: b[:99] + b[100:200] + b[201:], "[2-9] faults")],
    ids=["cut off", "bytes lost"],
)
def test_damaged_utf8_is_no_other_encoding(tmp_path, damage, faults):
    file = tmp_path / "text.txt"
    file.write_bytes(damage((CHINESE * 5).encode()))
    said = complaint(file.read_bytes(), file)
    assert re.search(f"is UTF-8 but for {faults}, as of a damaged or truncated copy", said)
    subprocess.run(re.search("iconv .*", said)[0], shell=True, stderr=subprocess.DEVNULL)
    kept = (tmp_path / "text.utf8.txt").read_text(encoding="utf-8")
    assert len(CHINESE * 5) - 6 <= len(kept) < len(CHINESE * 5)


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"\x1f\x8b\x08\x00", "gzip"), (b"PK\x03\x04\x14", "zip archive"), (b"%PDF-1.7\n", "PDF")],
)
def test_files_that_are_no_texts(start, kind):
    said = complaint(start + bytes(range(256)))
    assert kind in said and "Name a text that was unpacked from it." in said and "iconv" not in said


def test_bytes_that_look_like_nothing():
    said = complaint(bytes(range(254, -1, -1)) * 40)
    assert "looks like no encoding that is known here" in said and "iconv -f ENCODING" in said


@pytest.mark.parametrize(
    "text",
    [
        "",
        ENGLISH,
        CHINESE,
        "\ufeff" + GERMAN,
        "a\x00b text with one NUL\n",
        "names\x00that end\x00with a NUL\x00" * 9,
        "ends with a character of another kind: \N{SNOWMAN}",
    ],
)
def test_utf8_is_read_as_it_is(text):
    assert decode(text.encode(), "text.txt", "text.txt") == text
