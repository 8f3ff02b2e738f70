"""What the numbers do and do not show, in sentences that hold for this folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from steepest.report.data import Records
from steepest.report.figures.gradient import ClipFacts
from steepest.report.words import listed, plural


def notes(records: Records) -> Iterator[str]:
    """Notes on the evidence: seeds, splits, intervals, lost runs, clocks, damage."""
    n = len(records.seeds)
    if records.single or n == 1:
        yield "One seed: nothing here says how much another seed would differ, so no strategy is told from another."
    else:
        yield (
            f"{plural(n, 'seed')} a strategy. Within a seed all strategies start from the same weights and see "
            "the same batches, so differences are paired; an interval speaks of other seeds, not of other tasks."
        )
    if not records.single:
        yield (
            "Strategies are ranked by validation alone. Test values were read once at the end and choose nothing; "
            "a strategy that was tuned on these same seeds looks better than it is."
        )
    if records.summary is not None and not records.single:
        yield (
            "“Not separable” means that these seeds cannot tell the two apart, not that they are equal. "
            "“Separable” means that the interval of the paired difference does not cover zero."
        )
    if records.summary is None and not records.single:
        yield (
            "There is no summary.json, so the comparison has not ended. Means are over the runs at hand, which need "
            "not be the same seeds for every strategy, with no intervals: the order may change. Give the same command "
            "again to do what is missing."
        )
    bad = records.count("diverged", "failed")
    if bad:
        yield (
            f"{plural(bad, 'run')} diverged or failed. They have no final value, so the means leave them out: "
            "read a mean together with the number of lost runs beside it."
        )
    yield (
        "Curves are for looking; only the end of a finished schedule is judged. Where two strategies have schedules of "
        "different shape, the order in the middle of training says little about the order at the end."
    )
    yield "Wall-clock time depends on what else the machine did: compare steps, gradients and CPU time first."
    if records.torn:
        verb = "is" if records.torn == 1 else "are"
        yield f"{plural(records.torn, 'line')} of metrics could not be read (torn by a crash) and {verb} left out."
    yield from records.problems


def clipping_notes(facts: Sequence[ClipFacts]) -> Iterator[str]:
    """What the share of clipped steps means, where it is telling; with the numbers it rests on."""
    enough = [fact for fact in facts if fact.steps >= 50 and fact.clipped_share is not None]
    most = [fact for fact in enough if fact.clipped_share is not None and fact.clipped_share > 0.5]
    idle = [fact for fact in enough if fact.clipped_share is not None and 0 < fact.clipped_share < 0.01]
    if most:
        names = listed([f"{fact.strategy.label!r} ({100 * (fact.clipped_share or 0):.0f} %)" for fact in most])
        yield (
            f"{names}: more than half of all steps were clipped, so the threshold sets the length of the step as the "
            "learning rate does; they have to be chosen together. A usual threshold is the 90th percentile of the norm."
        )
    if idle:
        names = listed([repr(fact.strategy.label) for fact in idle])
        yield f"{names}: fewer than 1 % of the steps were clipped; the threshold is idle."
    skipped = [fact for fact in facts if fact.skipped]
    if skipped:
        names = listed([f"{fact.strategy.label!r} ({fact.skipped} of {fact.steps})" for fact in skipped])
        yield f"Steps skipped because the gradient norm was not finite: {names}."
