"""Published sizes of CoVoST 2: utterances of each language and split."""

from __future__ import annotations

from speechllama.constants import SPLITS
from speechllama.corpora.covost2.pairs import COVOST2_TARGETS
from speechllama.text.targets import DEFAULT_TARGET

# Utterances in train, dev, test of X->En: the rows of CoVoST 2's tables that Common Voice 4 validates.
_INTO_ENGLISH = {
    "ar": (2_283, 1_758, 1_695), "ca": (95_854, 12_730, 12_730), "cy": (1_241, 690, 690),
    "de": (127_834, 13_511, 13_511), "es": (79_015, 13_221, 13_221), "et": (1_782, 1_576, 1_571),
    "fa": (53_949, 3_445, 3_445), "fr": (207_374, 14_760, 14_760), "id": (1_243, 792, 844),
    "it": (31_698, 8_940, 8_951), "ja": (1_119, 635, 684), "lv": (2_337, 1_125, 1_629), "mn": (2_067, 1_761, 1_759),
    "nl": (7_108, 1_699, 1_699), "pt": (9_158, 3_318, 4_023), "ru": (12_112, 6_110, 6_300), "sl": (1_843, 509, 360),
    "sv-SE": (2_160, 1_349, 1_595), "ta": (1_358, 384, 786), "tr": (3_966, 1_624, 1_629),
    "zh-CN": (7_085, 4_843, 4_898),
}  # fmt: skip
_FROM_ENGLISH = (289_430, 15_531, 15_531)  # the same clips for each of the 15 languages


def published_counts(name: str, target: str = DEFAULT_TARGET) -> dict[str, int] | None:
    """Give the utterances of each split of a language; None where they are not known here."""
    if name == "en" and target in COVOST2_TARGETS:
        return dict(zip(SPLITS, _FROM_ENGLISH, strict=True))
    if target != "en" or name not in _INTO_ENGLISH:
        return None
    return dict(zip(SPLITS, _INTO_ENGLISH[name], strict=True))
