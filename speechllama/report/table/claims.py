"""Claims of the paper and of one other study, judged by the differences in the table.

    claims, differences in BLEU, or in what another task ranks by -> agrees | disagrees | no difference shown | not run

Source: arXiv 2307.03917 (the paper), arXiv 2501.02370 (on public data).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from speechllama.report.table.significance import Difference
from speechllama.text.tasks import DEFAULT_TASK, Metric, task_of

PAPER, OTHER = "2307.03917", "2501.02370"
PAPERS_SYSTEMS = ("b1", "b2", "e0", "e1", "e2", "e3", "e4", "e5", "e6", "d")
FEWER_PARAMETERS = 0.4  # of D than of B1, in the paper
NOT_JUDGED = "not judged"
SAME_UPDATES = 0.1  # of the greater number that two systems may differ in, without a note


class Claim(NamedTuple):
    """A reported difference in BLEU. Of another task, only which of both systems is better is judged by it.

    Attributes:
        row: The one system.
        other: The system it is compared with; "best" is the best of the paper's other systems here.
        reported: What was reported.
        sign: Of the reported difference: 1, -1, or 0 where there is about none.
        source: arXiv number.
    """

    row: str
    other: str
    reported: str
    sign: int
    source: str = PAPER


CLAIMS = (
    Claim("b2", "b1", "+0.9", 1),
    Claim("e0", "e1", "clearly below", -1),
    Claim("e2", "e1", "+1.5", 1),
    Claim("e3", "e1", "+1.5", 1),
    Claim("e4", "e3", "above", 1),
    Claim("e5", "e3", "+0.7", 1),
    Claim("e6", "best", "the best", 1),
    Claim("e6", "b1", "up to +4.6", 1),
    Claim("d", "b1", "-0.4", -1),
    Claim("e6:ctc_translation", "e6", "below (CTC on translations)", -1),
    Claim("e2", "e1", "about 0 (non_causal after an encoder)", 0, OTHER),
    Claim("e5", "e3", "about 0 (non_causal after an encoder)", 0, OTHER),
    Claim("d", "d_causal", "+2.0 to +2.4 (non_causal without an encoder)", 1, OTHER),
    Claim("d", "b1", "slightly below", -1, OTHER),
)


def judge(difference: Difference | None, sign: int) -> str:
    """Say whether a difference agrees with a claim.

    Args:
        difference: Ours; None where a system is missing.
        sign: Of the claim.

    Returns:
        "agrees" (same sign, and the interval excludes zero; for a claim of none: includes it), "disagrees" (the
        interval lies on the other side; for a claim of none: excludes zero), "no difference shown" or "not run".
        The interval keeps the seeds, so seeds of both signs show no difference, whatever it excludes.
    """
    if difference is None:
        return "not run"
    found = 1 if difference.low > 0 else -1 if difference.high < 0 else 0
    if any(value * found <= 0 for value in difference.by_seed.values()):
        found = 0
    if found == sign:
        return "agrees"
    return "disagrees" if found else "no difference shown"


def judge_claims(
    rows: Mapping[str, Mapping[str, Any]], compare: Callable[[str, str], Difference | None]
) -> list[dict[str, Any]]:
    """Judge all claims.

    Args:
        rows: Rows of the table by name.
        compare: Gives the difference of two rows, None where one of them is missing.

    Returns:
        One entry a claim: who, what was reported, our difference with its interval and of each seed, the verdict (that
        of `judge`, or "not judged" where a row lacks what it needs, its `flags`), and `note` where a row is missing,
        not judged, or trained with another number of updates.
    """
    judged = []
    for claim in CLAIMS:
        other = best_other(rows, claim.row) if claim.other == "best" else claim.other
        metric = ranking_metric(rows, claim.row)
        difference = compare(claim.row, other) if other in rows and claim.row in rows else None
        named = "the best of the others" + (f", {other}" if other else "") if claim.other == "best" else claim.other
        entry: dict[str, Any] = {
            "claim": f"{claim.row} against {named}",
            "reported": claim.reported,
            "source": claim.source,
            "verdict": judge(difference, claim.sign if metric.is_higher_better else -claim.sign),
            "metric": metric.in_words,
        }
        if difference:
            by_seed = {str(seed): value for seed, value in difference.by_seed.items()}
            entry |= {"mean": difference.mean, "low": difference.low, "high": difference.high, "by_seed": by_seed}
            notes = [f"{name}: {', '.join(rows[name]['flags'])}" for name in (claim.row, other) if rows[name]["flags"]]
            if notes:
                entry["verdict"] = NOT_JUDGED  # a system that does not use the audio shows nothing about the claim
            notes += compare_updates(rows[claim.row], rows[other])
            if notes:
                entry["note"] = "; ".join(notes)
        else:
            absent = [name for name in (claim.row, other) if "task" not in rows.get(name, {})]
            entry["note"] = f"no score of {' and '.join(name or 'another system' for name in absent)}"
            if not absent:
                entry["note"] = "no seed, no test set or no scoring in common"
        judged.append(entry)
    return judged


def ranking_metric(rows: Mapping[str, Mapping[str, Any]], row: str) -> Metric:
    """The metric that a row is compared by; that of the default task where it has no score."""
    found = rows.get(row, {})
    return task_of({"task": DEFAULT_TASK, **found}).ranks_by


def best_other(rows: Mapping[str, Mapping[str, Any]], row: str) -> str:
    """The paper's system with the best score besides one, of its task and scored as it is; "" where there is none."""
    metric, own = ranking_metric(rows, row), rows.get(row, {})
    others = [
        name
        for name in PAPERS_SYSTEMS
        if name != row and metric.name in rows.get(name, {}) and _scoring(rows[name]) == _scoring(own)
    ]
    choose = max if metric.is_higher_better else min
    return choose(others, key=lambda name: rows[name][metric.name], default="")


def _scoring(row: Mapping[str, Any]) -> str:
    """BLEU's tokenizer, where it is not that of the target language."""
    return str(row.get("bleu_tokenizer", ""))


def compare_updates(row: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Say that two rows differ in their numbers of updates, where they do."""
    ours, theirs = row.get("num_updates"), other.get("num_updates")
    if not ours or not theirs or abs(ours - theirs) <= SAME_UPDATES * max(ours, theirs):
        return []
    return [f"{ours:,.0f} updates against {theirs:,.0f}"]


def compare_parameters(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """How many fewer parameters D has than B1, in words; "" where one of them is missing."""
    ours, theirs = (rows.get(name, {}).get("num_parameters") for name in ("d", "b1"))
    if not ours or not theirs:
        return ""
    share = 100 * (1 - ours / theirs)
    reported = f"The paper reports about {100 * FEWER_PARAMETERS:.0f} %."
    return f"D has {ours:,} parameters, B1 {theirs:,}: {share:.0f} % fewer. {reported}"
