"""Bytes as text: UTF-8, and where they are none, what they look like and how to convert them."""

import codecs
import functools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from harness.data.errors import DataError

_SAMPLE_BYTES = 65_536  # of what is tried; any page of a text shows its encoding
_NUL_SHARE = 0.02
"""From this on, bytes that decode as UTF-8 may be UTF-16: there every blank has a NUL beside it."""
_PLAUSIBLE_SHARE = 0.75
"""Least share of characters that an encoding's own languages use. The texts of the tests reach 0.94
and more in what they are encoded in.
"""
_ASCII_PER_LETTER = 2
"""In Western European languages at least so many letters are ASCII for one that is not."""
_MARKS = (  # the first two bytes of UTF-32-LE are those of UTF-16-LE
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_FILE_KINDS = (
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a zip archive, as .docx and .epub are"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"%PDF-", "a PDF"),
)
_TYPOGRAPHY = "\N{NO-BREAK SPACE}«»‘’‚“”„–—…•°§©®™€№"
_LATIN_1_LETTERS = "".join(chr(code) for code in range(0xC0, 0x100) if code not in (0xD7, 0xF7))
_LATIN_1_SIGNS = "ªº¿¡·£¥¢¬¯´¸±²³¹µ¼½¾×÷\N{SOFT HYPHEN}"
_KOREAN_CHARACTERS = 20
"""Frequent Korean characters have bytes of frequent Chinese ones; half of the latter, so that so
many of them in a row are Korean.
"""
_SHARE_OF_ODD_WORDS = 0.02  # of characters beyond ASCII; a slip of the pen is no proof
_SIGN_IN_A_WORD = r"[^\W\d_][^\w\s\x00-\x7f’·\N{SOFT HYPHEN}][^\W\d_]|\w[²³¹]\w"
_NO_ASCII_IN_A_WORD = r"[^\W\d_\x00-\x7f]{3}"
"""Three letters beyond ASCII in a row, as no Western European word has them."""
_SHARE_OF_NEIGHBOURS = 0.5
"""Least share of characters of East Asia that stand beside another one: they make words. A sign of
one byte and the ASCII after it would be one that stands alone.
"""
_TWO_ALPHABETS_IN_A_WORD = "[A-Za-z][\u0370-\u052f]|[\u0370-\u052f][A-Za-z]"
_SPACE = re.compile("[ \n\N{IDEOGRAPHIC FULL STOP}]")


@dataclass(frozen=True)
class Encoding:
    """An encoding that bytes may turn out to have.

    Attributes:
        title: What it is called.
        iconv: Its name for ``iconv -f``.
        codec: Its name in Python.
    """

    title: str
    iconv: str
    codec: str


# Of encodings that explain a text equally well the first is told.
_MULTIBYTE = (
    Encoding("EUC-KR (Korean)", "CP949", "cp949"),
    Encoding("GB18030 (Chinese)", "GB18030", "gb18030"),
    Encoding("EUC-JP (Japanese)", "EUC-JP", "euc_jp"),
    Encoding("Shift-JIS (Japanese)", "CP932", "cp932"),
    Encoding("Big5 (Chinese)", "CP950", "cp950"),
)
_SINGLE_BYTE = (
    Encoding("Windows-1252 (Western European)", "CP1252", "cp1252"),
    Encoding("Windows-1251 (Cyrillic)", "CP1251", "cp1251"),
    Encoding("KOI8-R (Cyrillic)", "KOI8-R", "koi8_r"),
    Encoding("Windows-1253 (Greek)", "CP1253", "cp1253"),
    Encoding("Windows-1250 (Central European)", "CP1250", "cp1250"),
)
_WIDE = (
    Encoding("UTF-16-LE without its mark", "UTF-16LE", "utf-16-le"),
    Encoding("UTF-16-BE without its mark", "UTF-16BE", "utf-16-be"),
    Encoding("UTF-32-LE without its mark", "UTF-32LE", "utf-32-le"),
    Encoding("UTF-32-BE without its mark", "UTF-32BE", "utf-32-be"),
)


def decode(content: bytes, where: Path | str, file: Path | str) -> str:
    """Returns the text of UTF-8; a mark at its start stays in it.

    Args:
        content: The bytes.
        where: What the message calls them.
        file: The file that the message converts.

    Raises:
        DataError: They are not UTF-8. The message says what they look like, where the first fault
            is, and which command converts them.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        fault = error.start
    else:
        if not may_be_wide(content) or _likeliest(content) not in _WIDE:
            return text
        fault = content.index(0)
    byte = f"{content[fault]:#04x}"
    what, remedy = _diagnosis(content, file)
    raise DataError(
        f"{where}: must be UTF-8, but got {byte=!s} at offset={fault} and {what}. {remedy}"
    )


def may_be_wide(content: bytes) -> bool:
    """Returns whether bytes that decode as UTF-8 may be UTF-16 or UTF-32, by how they begin."""
    sample = content[:_SAMPLE_BYTES]
    return sample.count(0) > _NUL_SHARE * len(sample)


def _diagnosis(content: bytes, file: Path | str) -> tuple[str, str]:
    """Returns what bytes look like that are no UTF-8, and the remedy."""
    for signature, kind in _FILE_KINDS:
        if content.startswith(signature):
            return f"is {kind}", "Name a text that was unpacked from it."
    for mark, name in _MARKS:
        if content.startswith(mark):
            return f"is {name} by its mark", f"Convert it: {_iconv(f'-f {name}', file)}"
    num_faults = _faults_of_utf8(content)
    if num_faults is not None:
        faults = "1 fault" if num_faults == 1 else f"{num_faults} faults"
        return (
            f"is UTF-8 but for {faults}, as of a damaged or truncated copy",
            f"Get a whole copy, or drop what is damaged: {_iconv('-c -f UTF-8', file)}",
        )
    found = _likeliest(content)
    if found is None:
        return (
            "looks like no encoding that is known here",
            f"If it is a text, convert it from what it is: {_iconv('-f ENCODING', file)}",
        )
    once = "Convert it and look at the result" if found in _SINGLE_BYTE else "Convert it"
    return f"looks like {found.title}", f"{once}: {_iconv(f'-f {found.iconv}', file)}"


def _iconv(options: str, file: Path | str) -> str:
    target = Path(file).with_name(f"{Path(file).stem}.utf8{Path(file).suffix}")
    return f"iconv {options} -t UTF-8 {shlex.quote(str(file))} > {shlex.quote(str(target))}"


def _faults_of_utf8(content: bytes) -> int | None:
    """Returns how many faults a text has that is UTF-8 else; None where it is no such text.

    By chance, bytes of another encoding seldom make a character of UTF-8.
    """
    text = content.decode("utf-8", "replace")
    num_faults = text.count("\N{REPLACEMENT CHARACTER}")
    num_foreign = sum(map(len, re.findall(r"[^\x00-\x7f\ufffd]+", text)))
    return num_faults if num_foreign > 10 * num_faults else None


def _likeliest(content: bytes) -> Encoding | None:
    """Returns the likeliest encoding of bytes without a mark; None where none is likely."""
    foreign = re.search(rb"[\x80-\xff]", content)
    # All before the first byte above 0x7f is ASCII, so that a character begins there.
    first = max(0, foreign.start() - 100) if foreign else 0
    samples = {
        _MULTIBYTE: content[first : first + _SAMPLE_BYTES],
        _SINGLE_BYTE: content[first : first + _SAMPLE_BYTES],
        _WIDE: content[first - first % 4 :][:_SAMPLE_BYTES],
    }
    shares = {
        encoding: _plausible_share(sample, encoding)
        for encodings, sample in samples.items()
        for encoding in encodings
    }
    best = max(shares, key=lambda encoding: shares[encoding])
    return best if shares[best] >= _PLAUSIBLE_SHARE else None


def _plausible_share(sample: bytes, encoding: Encoding) -> float:
    """Returns the share of characters that are in use where the encoding is.

    It is 0 where the sample cannot be, or cannot well be, of that encoding.
    """
    try:
        # The sample may end within a character.
        text = codecs.getincrementaldecoder(encoding.codec)("strict").decode(sample, final=False)
    except UnicodeDecodeError:
        return 0.0
    others = re.findall(r"[^\t\n\f\r -~]", text)  # control characters too: no text has them
    if encoding in _WIDE and (not others or not _SPACE.search(text)):
        return float(bool(_SPACE.search(text)))
    if not others or not _is_possible(text, others, encoding):
        return 0.0
    common = _common_characters(encoding.codec)
    return sum(character in common for character in others) / len(others)


def _is_possible(text: str, others: list[str], encoding: Encoding) -> bool:
    """Returns whether a text can be of the languages of its encoding, by what words they write."""
    if encoding in _MULTIBYTE:
        is_enough = encoding.codec != "cp949" or len(others) >= _KOREAN_CHARACTERS
        in_rows = sum(map(len, re.findall(r"[^\x00-\x7f]{2,}", text)))
        return is_enough and in_rows >= _SHARE_OF_NEIGHBOURS * len(others)
    match encoding.codec:
        case "cp1252" | "cp1250":  # letters beyond ASCII are few
            num_letters = sum(character.isalpha() for character in others)
            num_ascii = len(re.findall("[A-Za-z]", text))
            odd_words = re.findall(_SIGN_IN_A_WORD, text)
            if encoding.codec == "cp1252":
                odd_words += re.findall(_NO_ASCII_IN_A_WORD, text)
            is_latin = num_ascii >= _ASCII_PER_LETTER * num_letters
            return is_latin and len(odd_words) <= _SHARE_OF_ODD_WORDS * len(others)
        case "cp1251" | "koi8_r" | "cp1253":
            odd_words = re.findall(_TWO_ALPHABETS_IN_A_WORD, text)
            return len(odd_words) <= _SHARE_OF_ODD_WORDS * len(others)
    return True


@functools.cache
def _common_characters(codec: str) -> frozenset[str]:
    """Returns the characters beyond ASCII that make up texts in a codec's languages.

    Of the standards of East Asia these are the rows of frequent characters, and those of
    punctuation and of full-width letters.
    """
    match codec:
        case "gb18030":
            simplified = _rows("gb2312", 0xA1, 0xA3, *range(0xB0, 0xD8))
            return simplified | _common_characters("cp950")  # it has the traditional ones too
        case "cp950":
            return _rows("cp950", *range(0xA1, 0xC6))
        case "euc_jp" | "cp932":
            return _rows("euc_jp", 0xA1, 0xA3, 0xA4, 0xA5, *range(0xB0, 0xD0))
        case "cp949":
            return _rows("euc_kr", 0xA1, 0xA3, *range(0xB0, 0xC9))
        case "cp1251" | "koi8_r":  # what is capital in one is small in the other
            return frozenset("абвгдежзийклмнопрстуфхцчшщъыьэюяёєіїўґ" + _TYPOGRAPHY)
        case "cp1253":
            return frozenset("αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ" + _TYPOGRAPHY)
        case "cp1252":
            return frozenset(_LATIN_1_LETTERS + _LATIN_1_SIGNS + "ŒœŸ" + _TYPOGRAPHY)
        case "cp1250":
            letters = "ąćęłńóśźżáčďéěíňřšťúůýžäľĺŕôőűöüăâîşţđ"
            return frozenset(letters + letters.upper() + "ß\N{SOFT HYPHEN}" + _TYPOGRAPHY)
        case _:
            scripts = (range(0xA0, 0x590), range(0x5D0, 0x700), range(0x2010, 0x2040))
            alphabets = {chr(code) for script in scripts for code in script}
            east_asia = ("gb18030", "cp950", "euc_jp", "cp949")
            return frozenset(alphabets).union(*map(_common_characters, east_asia))


def _rows(codec: str, *leads: int) -> frozenset[str]:
    """Returns the characters of two bytes whose first is one of ``leads``."""
    pairs = (bytes((lead, trail)) for lead in leads for trail in range(0x40, 0xFF))
    texts = (pair.decode(codec, "ignore") for pair in pairs)
    return frozenset(text for text in texts if len(text) == 1 and text > "\x7f")
