"""Write the table as people read it: table.json -> its part of RESULTS.md, and CLAIMS.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechllama.markdown import format_signatures, format_table
from speechllama.report.table.claims import compare_parameters
from speechllama.report.table.significance import is_tested
from speechllama.text.targets import TARGETS
from speechllama.text.tasks import BLEU, DEFAULT_TASK, TASKS, Metric, Task
from speechllama.text.tasks import task_of as task_of_report

NONE = "-"
SCORES = (
    "In brackets: 95 % interval, from resampled utterances. Of several seeds a cell has the mean and, in "
    "parentheses, the least and the greatest"
)
COSTS = (
    "Parameters: all (trained). Control: the first score, with the audio of another utterance. Frames per vector: "
    "feature frames (10 ms) for each vector that the LLM reads. Training: minutes of the row's own training and, "
    "after +, of the system that it starts from or is built on; shared: of its CTC encoder and LLM, which other rows "
    "use as well. Updates: of all these but the LLM's. Memory: GB, the most in use by the (first) process of its own "
    "training. Real-time factor: of decoding; of rows with CTC without stage `compress`, its encoder and compressor. "
    "p: sacreBLEU's paired bootstrap test against the reference, of several seeds the largest. Judged: whether claims "
    "are judged by the row, which must be better than its control and trained to its budget, the epochs of its YAML.\n"
)


def format_part(table: Mapping[str, Any]) -> str:
    """Write the table's part of RESULTS.md.

    Args:
        table: What table.json holds.

    Returns:
        Markdown: a table of each task, its languages, how each row was made, what is missing.
    """
    rows = [row for row in table["rows"] if "task" in row]
    seeds = ", ".join(map(str, table["seeds"]))
    parts = [f"## Systems compared\n\nReference: {table['reference']}. Seeds: {seeds}. {SCORES}.\n"]
    for (task, part, test_set), own in group_rows(table).items():
        columns = Columns(task, task.metrics_of(*own), table["reference"], further_of(task, own))
        cells = [columns.cells(row) for row in own]
        into = f" into {TARGETS[part].language}" if part else ""
        into += f", {test_set}" if test_set else ""
        parts.append(f"{task.title}{into}:\n\n{format_table(columns.header, cells)}")
        parts.append(format_languages(own, task.ranks_by))
    parts.append(COSTS)
    if rows:
        parts.append(format_making(rows))
        parts.append(format_signatures(collect_signatures(table, rows)))
    missing = [f"* {row['row']}, seed {seed}: {why}\n" for row in table["rows"] for seed, why in row["missing"].items()]
    missing = list(dict.fromkeys(missing))  # a row that was not run is missing in the table of every set
    if missing:
        parts.append("Missing in the table:\n\n" + "".join(missing))
    parts.append("Every seed: `table/table.json`; figure: `table/scores.svg`; the paper's claims: `CLAIMS.md`.\n")
    return "\n".join(parts)


Group = tuple[Task, str, str]  # with the metric that ranks, target language, test set; "" where there is one for all


def group_rows(table: Mapping[str, Any]) -> dict[Group, list[Mapping[str, Any]]]:
    """Rows by task, the metric that ranks, target language and test set, in the order of TASKS.

    A row without a score is among those of its task, and of its set, that are first.
    """
    rows, has_sets = table["rows"], "sets" in table

    def key_of(row: Mapping[str, Any]) -> Group:
        return task_of(row), str(row.get("part", "")), str(row["set"]) if has_sets else ""

    scored = list(dict.fromkeys(key_of(row) for row in rows if "task" in row))
    groups: dict[Group, list[Mapping[str, Any]]] = {}
    for row in rows:
        key = key_of(row)
        if "task" not in row:
            like = (each for each in scored if (each[0].name, each[2]) == (key[0].name, key[2]))
            key = next(like, key)
        groups.setdefault(key, []).append(row)
    order = list(TASKS)
    return dict(sorted(groups.items(), key=lambda group: order.index(group[0][0].name)))


COST_COLUMNS = ("frames per vector", "updates", "training", "shared", "memory", "real-time factor")


def task_of(row: Mapping[str, Any]) -> Task:
    """The task of a row; of one without a score the one that its name ends in, as "e6:asr"."""
    named = [variant for variant in row["row"].split(":")[1:] if variant in TASKS]
    return task_of_report({"task": TASKS[(named or [DEFAULT_TASK])[-1]].ranked.name, **row})


def further_of(task: Task, rows: Sequence[Mapping[str, Any]]) -> tuple[Metric, ...]:
    """The metrics besides the one that ranks by which systems are compared, and that a row has."""
    return tuple(metric for metric in task.metrics_of(*rows) if metric in task.compared and metric != task.ranks_by)


@dataclass(frozen=True)
class Columns:
    """The columns of a task's table.

    Attributes:
        task: The task.
        metrics: Its scores, of those that a row has.
        reference: The row that all others are compared with.
        further: Those of them by which systems are compared, besides the one that ranks.
    """

    task: Task
    metrics: tuple[Metric, ...]
    reference: str
    further: tuple[Metric, ...]

    @property
    def header(self) -> list[str]:
        """Their headings."""
        compared = [f"less {self.reference}", "p"] if is_tested(self.task) else []
        further = [
            name
            for metric in self.further
            for name in (f"{metric.title} less {self.reference}", f"{metric.title} p", f"{metric.title} control")
        ]
        headings = [metric.heading for metric in self.metrics]
        return ["row", "parameters", *headings, *compared, "control", *further, *COST_COLUMNS, "judged", "remarks"]

    def cells(self, row: Mapping[str, Any]) -> list[str]:
        """A row, also one without any score: then why."""
        if "task" not in row:
            reasons = dict.fromkeys(row["missing"].values())
            return [row["row"], *[NONE] * (len(self.header) - 2), f"**{'; '.join(reasons)}**"]
        scores = [score_cell(row, metric) for metric in self.metrics]
        compared = difference_cells(row.get("difference")) if is_tested(self.task) else []
        further = []
        for metric in self.further:
            further += difference_cells(row.get("further_differences", {}).get(metric.name))
            further.append(spread(row, f"control_{metric.name}"))
        control, judged = spread(row, self.task.control), "no" if row["flags"] else "yes"
        first = [row["row"], parameters(row), *scores, *compared, control, *further]
        return [*first, *cost_cells(row), judged, remarks(row)]


def score_cell(row: Mapping[str, Any], metric: Metric) -> str:
    """A score, with its interval where there is one."""
    low, high = (row.get(f"{metric.name}_{end}") for end in ("low", "high"))
    return spread(row, metric.name) + ("" if low is None else f" [{low:.1f}, {high:.1f}]")


def difference_cells(difference: Mapping[str, Any] | None) -> list[str]:
    """A difference to the reference with its interval, and the p-value."""
    if not difference:
        return [NONE, NONE]
    less = f"{difference['mean']:+.1f} [{difference['low']:+.1f}, {difference['high']:+.1f}]"
    return [less, NONE if difference["p_value"] is None else f"{difference['p_value']:.3f}"]


def cost_cells(row: Mapping[str, Any]) -> list[str]:
    """What a row takes: compression, training, memory, real-time factor, each a mean over the seeds."""
    trainings = [seed["trainings"] for seed in row["by_seed"].values()]
    own, start, base = (mean_value(trainings, name, "seconds") for name in ("own", "start", "base"))
    first = [value for value in (own, start, base) if value is not None]
    shared = [value for name in ("CTC", "LLM") if (value := mean_value(trainings, name, "seconds")) is not None]
    peaks = [mean_value(trainings, name, "peak_gb") for name in ("own", "base")]
    peak = next((value for value in peaks if value is not None), None)
    ratio, updates = row["compression_ratio"], row.get("num_updates")  # an older table.json has no updates
    return [
        NONE if ratio is None else f"{ratio:.1f}",
        NONE if updates is None else f"{updates:,.0f}",
        " + ".join(f"{seconds / 60:.1f}" for seconds in first) or NONE,
        f"{sum(shared) / 60:.1f}" if shared else NONE,
        NONE if peak is None else f"{peak:.2f}",
        f"{row['rtf']:.3f}" if "rtf" in row else NONE,
    ]


def mean_value(trainings: Sequence[Mapping[str, Any]], name: str, key: str) -> float | None:
    """Mean of a value of one training over the seeds that recorded it."""
    values = [training[name][key] for training in trainings if key in training.get(name, {})]
    return sum(values) / len(values) if values else None


def parameters(row: Mapping[str, Any]) -> str:
    """All parameters and those that train."""
    total, trained = (row.get(key) for key in ("num_parameters", "num_trainable"))
    return NONE if total is None else f"{total:,} ({trained or 0:,})"


def spread(row: Mapping[str, Any], key: str) -> str:
    """A score; of several seeds their mean, the least and the greatest."""
    if key not in row:
        return NONE
    if len(row["by_seed"]) == 1:
        return f"{row[key]:.1f}"
    return f"{row[key]:.1f} ({row[key + '_min']:.1f} to {row[key + '_max']:.1f})"


def remarks(row: Mapping[str, Any]) -> str:
    """What a reader must know: what it lacks to be judged, other conditions than the reference's, missing seeds."""
    found = [f"**{flag}**" for flag in row["flags"]]
    if row["differs"]:
        found.append(f"differs from the reference in: {', '.join(row['differs'])}")
    if row["missing"]:
        found.append(f"without seed {', '.join(row['missing'])}")
    return "; ".join(found)


def format_languages(rows: Sequence[Mapping[str, Any]], metric: Metric) -> str:
    """A score, and its control's, by language."""
    rows = [row for row in rows if "task" in row]
    if not rows:
        return ""
    languages = sorted(set().union(*(row["per_language"] for row in rows)))
    lines = []
    for row in rows:
        parts = [row["per_language"].get(language, {}) for language in languages]
        lines.append([row["row"], *(language_cell(part, metric.name) for part in parts)])
    return f"{metric.in_words} (of the control) of each language:\n\n{format_table(['row', *languages], lines)}"


def language_cell(part: Mapping[str, float], key: str) -> str:
    """A language's score and its control's."""
    if key not in part:
        return NONE
    control = part.get(f"control_{key}")
    return f"{part[key]:.1f}" + (f" ({control:.1f})" if control is not None else "")


MADE = ("LLM", "CTC", "start", "base", "own")


def format_making(rows: Sequence[Mapping[str, Any]]) -> str:
    """How each row was made, seed by seed: updates, choice of epochs, beam, commit, hardware."""
    lines = []
    for row in rows:
        for seed, run in row["by_seed"].items():
            made = {name: run["trainings"][name] for name in MADE if has_updates(run, name)}
            updates = [
                f"{record['num_updates']:,}" + (f" ({name})" if name != "own" else "") for name, record in made.items()
            ]
            own = run["trainings"].get("own") or run["trainings"].get("base") or {}
            average = run["average"]
            epochs = ", ".join(map(str, average.get("epochs", [])))
            chosen = f"{average['num_best']} by {average['criterion']}: {epochs}" if average else NONE
            hardware = f"{own['hardware']}, {own['num_threads']} threads" if "hardware" in own else NONE
            facts = [" + ".join(updates) or NONE, chosen, run.get("beam_size"), run.get("commit"), hardware]
            lines.append([row["row"], seed, *(NONE if fact in (None, "") else str(fact) for fact in facts)])
    header = ["row", "seed", "updates", "epochs averaged", "beam", "commit of decoding", "training hardware"]
    return "How they were made:\n\n" + format_table(header, lines)


def has_updates(run: Mapping[str, Any], name: str) -> bool:
    """Whether a training of a run recorded its updates."""
    return "num_updates" in run["trainings"].get(name, {})


def collect_signatures(table: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The signatures of all scores and of the paired test."""
    found = [
        run[key] for row in rows for run in row["by_seed"].values() for key in task_of(row).signatures if key in run
    ]
    return [*found, *([table["test"]] if table["test"] else [])]


def format_claims(table: Mapping[str, Any], title: str) -> str:
    """Write CLAIMS.md: what was reported, and what is found here."""
    rows = []
    for entry in table["claims"]:
        ours = NONE
        if "mean" in entry:
            ours = f"{entry['mean']:+.1f} [{entry['low']:+.1f}, {entry['high']:+.1f}]"
            if len(entry["by_seed"]) > 1:
                ours += f"; seeds: {', '.join(f'{value:+.1f}' for value in entry['by_seed'].values())}"
        rows.append([entry["claim"], entry["reported"], ours, entry["verdict"], entry.get("note", ""), entry["source"]])
    metrics = {entry.get("metric", BLEU.in_words): None for entry in table["claims"] if "mean" in entry}
    found = " or ".join(metrics) or BLEU.in_words
    others = found != BLEU.in_words
    of_here = [f"here, {found} [95 %]"] if others else ["here [95 %]"]
    header = ["difference in BLEU", "reported", *of_here, "verdict", "remark", "reported in arXiv"]
    text = (
        "The interval is that of a paired bootstrap: the same resampled utterances for both systems, mean over the "
        "seeds, whose own variance it does not hold. A claim of a difference *agrees* if the interval excludes zero on "
        "the reported side and every seed is on that side, and *disagrees* if they are on the other; else no "
        "difference is shown, with which a claim of about none agrees. Each test set judges by itself, and no "
        "claim is judged by a system that is no better than its control or not trained to its budget.\n"
    )
    if others:
        text += (
            f"\nThe reports are of BLEU and translation. The rows here have {found}: a claim is judged by which system "
            "is better, where less is better of an error rate.\n"
        )
    sizes = compare_parameters({row["row"]: row for row in table["rows"]})
    page = f"# {title}: the claims\n\n{text}\n{format_table(header, rows)}" + (f"\n{sizes}\n" if sizes else "")
    return f"{page}\n{format_needs(table)}"


def format_needs(table: Mapping[str, Any]) -> str:
    """Write what each row needs to be judged, and has."""
    has_sets = "sets" in table
    lines = []
    for row in (row for row in table["rows"] if "task" in row):
        task, parts = task_of(row), [str(row[key]) for key in ("part",) if key in row]
        name = " ".join([row["row"], *(f"into {part}" for part in parts), *([f"on {row['set']}"] if has_sets else [])])
        score, control = score_cell(row, task.ranks_by), spread(row, task.control)
        lines.append(
            [name, f"{task.ranks_by.title} {score}", control, epochs_cell(row), "; ".join(row["flags"]) or "yes"]
        )
    if not lines:
        return ""
    header = ["row", "score", "control", "epochs of its budget", "judged"]
    needs = "What each row needs in order to be judged: a score better than the control, and the epochs of its YAML."
    return f"{needs}\n\n{format_table(header, lines)}"


def epochs_cell(row: Mapping[str, Any]) -> str:
    """Epochs that were trained of those of the YAML, of each training; of several seeds each once."""
    found: dict[str, None] = {}
    for run in row["by_seed"].values():
        known = {name: run["trainings"][name] for name in MADE if "max_epoch" in run["trainings"].get(name, {})}
        found |= dict.fromkeys(
            f"{record['num_epochs']} of {record['max_epoch']}" + (f" ({name})" if name != "own" else "")
            for name, record in known.items()
            if "num_epochs" in record
        )
    return ", ".join(found) or NONE
