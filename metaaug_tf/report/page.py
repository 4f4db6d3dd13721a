"""Makes report.html of a run folder: one file with everything in it, no request to anywhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from metaaug_tf.errors import UserError
from metaaug_tf.files import write_text
from metaaug_tf.policy.table import SamplerTable
from metaaug_tf.report import comparison, curves, gallery, maps, strength
from metaaug_tf.report.findings import findings
from metaaug_tf.report.measures import groups_of
from metaaug_tf.report.run import Run, read_run
from metaaug_tf.report.wording import duration, number, percent, percent_of, rate
from metaaug_tf.run_folder import RunFolder


def write_report(folder: Path, compare: Sequence[Path] = ()) -> Path:
    """Writes the report of the run in `folder` and returns its path.

    An older report stays as it is until the new one is complete.

    Args:
        folder: a run folder; files that the policy or an unfinished run doesn't have may be absent.
        compare: other run folders to compare it with.

    Raises:
        UserError: a folder is not a run, a file in it is damaged, or the page can't be written.
    """
    folder = Path(folder)
    runs = [read_run(folder)]
    own = folder.resolve()
    others = dict.fromkeys(Path(other).resolve() for other in compare)
    runs += [read_run(other) for other in others if other != own]
    html = render(runs)
    target = RunFolder(folder).report
    try:
        write_text(target, html)
    except OSError as error:
        raise UserError(f"{target} can't be written: {error.strerror}") from error
    return target


def render(runs: Sequence[Run]) -> str:
    """The page about runs[0], compared with the other ones, as HTML."""
    environment = Environment(
        loader=PackageLoader("metaaug_tf.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    run = runs[0]
    return environment.get_template("page.html.jinja").render(
        run=run,
        tiles=_tiles(run),
        findings=findings(run),
        training=curves.training_curves(run),
        sampler=_sampler(run),
        weights=_weights(run),
        shelves=gallery.shelves(run),
        cost=_cost(run),
        settings=sorted(comparison.flat(run.config).items()),
        command=str(run.summary.get("command") or ""),
        comparison=_comparison(runs),
    )


def _tiles(run: Run) -> list[tuple[str, str]]:
    """The figures at the head of the page; what is not known is left out."""
    tiles = [
        ("Test accuracy", percent_of(run.figure("test_accuracy"))),
        (f"Validation accuracy{run.validation_note}", percent_of(run.figure("validation_accuracy"))),
        ("Epochs", number(run.figure("epochs"), 0)),
        ("Training time", duration(run.figure("seconds"))),
    ]
    return [(name, value) for name, value in tiles if "–" not in value]


def _sampler(run: Run) -> dict[str, Any] | None:
    """Pictures and table of what the sampler learned; None for a policy that draws by a fixed rule."""
    if run.sampler is None or not run.learns:
        return None
    drawn = run.sampler.operation_ratios(run.sampler.table)
    order = drawn.argsort(kind="stable")
    return {
        "initial": _initial(run.sampler),
        "map": maps.sampler_map(run.sampler),
        "moved": maps.movement_map(run.sampler),
        "moments": maps.history_maps(run.sampler),
        "frequencies": [(run.operations[k], [number(drawn[k])]) for k in order],
        "table": maps.columns(run.sampler.pair_ratios(run.sampler.table), run.operations),
    }


def _initial(sampler: SamplerTable) -> str:
    """What pairs were drawn from before anything was learned, as a clause."""
    fractions = sampler.initial.sum(axis=0)
    if np.ptp(fractions) < 1e-3:
        return "all pairs are drawn equally often"
    other = int(np.abs(fractions - np.median(fractions)).argmax())
    part = percent(fractions[other])
    return f"{sampler.operations[other]} is {part} of the operations drawn, and the others are alike"


def _weights(run: Run) -> dict[str, Any] | None:
    """Pictures of the weights; None where no policy network gave any."""
    groups = groups_of(run)
    if groups is None or not run.learns:
        return None
    names, means, _ = maps.weight_table(run, groups)
    return {
        "groups": groups,
        "observed": f"{len(groups.seen.weights):,}",
        "map": maps.group_map(run, groups),
        "classes": maps.class_chart(run, groups.seen),
        "columns": names,
        "table": maps.columns(means, run.operations),
        "strength": strength.strength_charts(run, groups),
        "legend": strength.strength_legend(groups),
        "curves": curves.policy_curves(run),
    }


def _cost(run: Run) -> list[tuple[str, str]]:
    lines = [
        ("Images per second", rate(run.figure("images_per_second"))),
        ("Time spent waiting for input", percent(run.figure("input_bound_fraction"))),
        ("Step relative to a plain one", f"{number(run.figure('step_ratio'))}×"),
        ("Whole run", duration(run.figure("seconds"))),
    ]
    return [(name, value) for name, value in lines if "–" not in value]


def _comparison(runs: Sequence[Run]) -> dict[str, Any] | None:
    if len(runs) < 2:
        return None
    return {
        "headings": comparison.HEADINGS,
        "rows": comparison.rows(runs),
        "findings": comparison.comparison_findings(runs) + comparison.agreement_findings(runs),
        "charts": [*curves.comparison_curves(runs), *filter(None, [comparison.learned_map(runs)])],
    }
