"""TER against sacreBLEU's own command, and the languages that have none."""

from __future__ import annotations

import pytest

from speechllama.report.score import pair, score_translation
from speechllama.text.targets import TARGETS
from speechllama.text.ter import ter_metric

ENGLISH = (
    {"a": "A dog runs in a garden today.", "b": "the cat sat on the mat.", "c": ""},
    {"a": "A dog runs in the garden today.", "b": "The cat sat on the mat.", "c": "He reads a book."},
)
CHINESE = ({"a": "今天天气好。", "b": "我喜欢喝茶。"}, {"a": "今天天气很好。", "b": "我喜欢喝咖啡。"})


@pytest.mark.parametrize(
    ("texts", "target", "expected", "signature"),
    [
        # `sacrebleu ref -i hyp -m ter -w 4` (2.6.0)
        (ENGLISH, "en", 29.4118, "nrefs:1|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:"),
        # the same with `--ter-normalized --ter-asian-support`
        (CHINESE, "zh", 21.4286, "nrefs:1|case:lc|tok:tercom|norm:yes|punct:yes|asian:yes|version:"),
    ],
)
def test_ter_equals_the_sacrebleu_command(
    texts: tuple[dict[str, str], dict[str, str]], target: str, expected: float, signature: str
) -> None:
    score = score_translation(pair(*texts), TARGETS[target], num_bootstrap=1)
    assert score.ter == pytest.approx(expected, abs=2e-4)
    assert score.ter_signature is not None and score.ter_signature.startswith(signature)
    assert score.ter_signature in str(score)


def test_a_script_without_spaces_whose_characters_are_not_words_has_none() -> None:
    assert ter_metric(TARGETS["th"]) is None and ter_metric(TARGETS["km"]) is None
    assert all(ter_metric(TARGETS[name]) is not None for name in ("ja", "zh-TW", "ko", "de"))
