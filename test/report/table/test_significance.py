"""p-values and resampled differences, against sacreBLEU's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest, Result

from speechllama.report.table.significance import paired_p_values, resample_score
from test.report.table.conftest import NUM_UTTERANCES, make_references, spoil, to_pairs


def test_p_values_and_resamples_are_sacrebleus_own() -> None:
    references = make_references()
    one, other = (to_pairs(spoil(references, share, 7), references) for share in (0.3, 0.35))
    systems: list[tuple[str, Sequence[str]]] = [("one", one.hypotheses), ("other", other.hypotheses)]
    test = PairedTest(systems, {"BLEU": BLEU()}, [list(one.references)], test_type="bs")
    _, scores = test()
    expected = scores["BLEU"][1]
    assert isinstance(expected, Result)
    found, signature = paired_p_values(one, {"other": other})
    assert found["other"] == expected.p_value
    assert "bs:1000" in signature and "seed:12345" in signature
    assert resample_score(other).mean() == pytest.approx(expected.mean, abs=1e-9)


def test_equal_scores_have_no_p_value_and_other_utterances_are_refused() -> None:
    references = make_references()
    pairs = to_pairs(spoil(references, 0.3, 7), references)
    assert paired_p_values(pairs, {"same": pairs})[0] == {"same": None}
    at_control = [replace(pairs, hypotheses=(text,) * NUM_UTTERANCES) for text in ("", "wrong")]
    assert paired_p_values(at_control[0], {"other": at_control[1]})[0] == {"other": None}, "both have 0 BLEU"
    fewer = replace(pairs, utterances=pairs.utterances[1:])
    with pytest.raises(ValueError, match="e5: its 39 utterances are not those of the reference"):
        paired_p_values(pairs, {"e5": fewer})
