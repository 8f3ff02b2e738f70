from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from steepest.tasks.splits import split_of
from steepest.tasks.stdlib_text import ALPHABET, PER_FILE, SIZES, corpus, encode, language, names, windows
from steepest.tasks.task import TaskError


def decode(text: torch.Tensor) -> str:
    return "".join(ALPHABET[i] for i in text.tolist())


def test_the_alphabet_has_96_symbols() -> None:
    assert len(set(ALPHABET)) == len(ALPHABET) == 96


@given(some.text())
def test_every_character_is_one_symbol(text: str) -> None:
    by_hand = "".join(" " if c == "\t" else c if c in ALPHABET else "?" for c in text)
    assert decode(encode(text)) == by_hand


def test_files_are_divided_by_name_and_none_is_in_two_splits() -> None:
    files = corpus().files
    together = [name for split in files.values() for name in split]
    assert len(together) == len(set(together)) > 100
    assert all(split_of(f"stdlib/{name}", 0.1, 0.1) == split for split, own in files.items() for name in own)


def test_the_text_is_what_the_files_hold() -> None:
    root = Path(sysconfig.get_paths()["stdlib"])
    text, files, _ = corpus()
    for split, size in SIZES.items():
        assert len(text[split]) <= size
        first = encode((root / files[split][0]).read_text("utf-8"))[:PER_FILE]
        assert torch.equal(text[split][: len(first)], first)
    assert sum(map(len, text.values())) == pytest.approx(1.5e6, rel=0.2)


def a_library(root: Path) -> Path:
    root.mkdir()
    for i in range(400):
        (root / f"m{i}.py").write_text(f"# module {i}\n" + "x = 1\n" * 300)
    return root


def test_the_corpus_depends_on_the_files_alone(tmp_path: Path) -> None:
    one, two = a_library(tmp_path / "one"), a_library(tmp_path / "two")
    assert corpus(str(one)).digest == corpus(str(two)).digest
    for left_out in (
        "test/test_a.py",
        "site-packages/big.py",
        "_sysconfigdata__linux_.py",
        "encodings/cp1.py",
        "notes.txt",
    ):
        (two / left_out).parent.mkdir(exist_ok=True)
        (two / left_out).write_text("y = 2\n" * 1000)
    corpus.cache_clear()
    assert corpus(str(one)).digest == corpus(str(two)).digest
    (two / "m3.py").write_bytes((two / "m3.py").read_bytes().replace(b"\n", b"\r\n"))
    corpus.cache_clear()
    assert corpus(str(one)).digest == corpus(str(two)).digest, "line ends are one symbol"
    (two / "m3.py").write_text("z = 3\n")
    corpus.cache_clear()
    assert corpus(str(one)).digest != corpus(str(two)).digest
    assert names(two)[:2] == ["m0.py", "m1.py"]


def test_a_library_without_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"has 0 characters.*too little Python source"):
        corpus(str(tmp_path))


def test_targets_are_the_inputs_moved_on_by_one() -> None:
    text = torch.arange(1000) % 96
    for x, y in (windows(text), windows(text, 7)):
        assert x.shape == y.shape and x.shape[1] == 64
        assert torch.equal((x + 1) % 96, y)
    x, _ = windows(text)
    assert torch.equal(x.flatten(), text[: 15 * 64])
    x, _ = windows(text, 7)
    assert x[0, 0] == text[0] and x[-1, -1] == text[998]


def test_evaluation_sees_fixed_windows() -> None:
    text = language()
    assert len(text["validation"][0]) == 512 and len(text["test"][0]) == 2048
    assert text["facts"]["corpus"] == corpus().digest
