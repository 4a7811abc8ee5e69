"""Figures of bars that are divided into parts: exits by reason, and where a packet's time goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from harness.core.metrics import is_idle
from harness.core.units import is_virtual
from harness.records.trial import IDLE
from reports.run import explain, style
from reports.run.canvas import (
    Data,
    Drawn,
    Made,
    add_legend,
    dots,
    empty_figure,
    figure_in_words,
    finish_panel,
    in_words,
    panels_of,
    subtitle_of,
    tell_row,
)
from reports.run.svg import hint

_REASONS_SHOWN = 8
_HALTING = "halting"


def exits_per_packet(data: Data) -> Made:
    """VM exits per packet on the wire, stacked by reason."""
    return _stacked(
        data,
        "exits-per-packet",
        "VM exits per packet on the wire, by reason",
        "exits_per_packet",
        "per_packet",
    )


def exit_time_share(data: Data) -> Made:
    """CPU time spent in exits as a share of the vCPUs' time, stacked by reason; halting apart."""
    return _stacked(
        data,
        "exit-time-share",
        "CPU time in VM exits by reason, % of the vCPUs' time",
        "exit_time_share",
        "share",
        apart="halt_time_share",
    )


ONE_CPU = "The lab has one CPU, so these are all of the window."

SEVERAL_CPUS = (
    "The vCPU, vhost and QEMU have a CPU each and work at the same time, so the longest of the "
    "three limits the rate, and what is left of the window is not known."
)


def packet_time(data: Data) -> Made:
    """Where the time of a packet goes, by the virtual clock."""
    panels = [w for w in data.run.workloads if data.has(w, "guest_time_per_packet")]
    if not panels or not is_virtual(data.run.info.clock):
        return None
    unit = data.unit("guest_time_per_packet")
    title = f"Where the time of a packet goes, {unit}"
    rows = [data.paths_with(workload, "guest_time_per_packet") for workload in panels]
    found = {metric for _, _, metric in data.found}
    shown_at_all = [metric for metric in explain.PARTS if metric in found]
    fills = {
        name: fill
        for (metric, name), fill in zip(explain.PARTS.items(), style.PARTS, strict=True)
        if metric in found
    }

    def paced(workload: str) -> bool:
        return data.run.workload_facts(workload).paced

    figure = empty_figure(
        title, subtitle_of(data, "guest_time_per_packet"), [len(paths) for paths in rows], legend=1
    )
    spoken = []
    for axes, workload, paths in zip(panels_of(figure, rows), panels, rows, strict=True):
        shown = [m for m in shown_at_all if m != explain.REST or not paced(workload)]
        here = [{m: data.found.get((path, workload, m)) for m in shown} for path in paths]
        parts = [{m: each.value for m, each in row.items() if each is not None} for row in here]
        named = [{explain.PARTS[m]: value for m, value in each.items()} for each in parts]
        for y, (path, each) in enumerate(zip(paths, parts, strict=True)):
            tell_row(axes, y, f"{path}: {style.number(sum(each.values()))} {unit} in all")
        _bars(axes, paths, [sum(each.values()) for each in parts], named, fills, unit)
        finish_panel(axes, workload, paths)
        spoken.append(f"{workload}: {_parts_in_words(paths, named)}")
    add_legend(figure, (_patches(fills.values()), list(fills)))
    several = data.run.info.clock == "virtual-smp"
    caption = f"{explain.MEANS} {SEVERAL_CPUS if several else ONE_CPU}"
    if pausing := ", ".join(filter(paced, panels)):
        caption += (
            f" Where traffic is paced ({pausing}) the rest is mostly the pauses, and is left out."
        )
    told = "; ".join(spoken)
    return figure, Drawn("packet-time", title, caption, told, figure.get_figheight())


def _parts_in_words(paths: Sequence[str], parts: Sequence[Mapping[str, float]]) -> str:
    """ "sriov guest 1.62, exits 0.05; e1000e ..." of a panel."""
    return "; ".join(
        f"{path} {', '.join(f'{name} {style.number(value)}' for name, value in each.items())}"
        for path, each in zip(paths, parts, strict=True)
    )


def _stacked(data: Data, name: str, title: str, metric: str, column: str, apart: str = "") -> Made:
    """Bars as long as the path's figure, divided by the reasons' shares of all that was counted.

    Behind them, if there is a metric `apart`, what idle exits have of it.
    """
    panels = [w for w in data.run.workloads if w != IDLE and data.has(w, metric)]
    if not panels:
        return None
    busy = data.exits[~data.exits["reason"].map(is_idle).astype(bool)]
    totals = busy.groupby("reason")[column].sum().sort_values(ascending=False)
    ranked = [str(reason) for reason in totals[totals > 0].index]
    shown = ranked if len(ranked) <= _REASONS_SHOWN else ranked[: _REASONS_SHOWN - 1]
    fills = style.reason_fills(data_reasons(data))
    fills |= {"other": style.OTHER, _HALTING: style.HALTING}
    bar = {name: fills[name] for name in (*shown, "other")}
    named = busy.assign(reason=busy["reason"].where(busy["reason"].isin(shown), "other"))
    sums = named.groupby(["workload", "path", "reason"])[column].sum().to_dict()
    rows = [data.paths_with(workload, metric) for workload in panels]
    figure = empty_figure(
        title, subtitle_of(data, metric), [len(paths) for paths in rows], legend=2
    )
    for axes, workload, paths in zip(panels_of(figure, rows), panels, rows, strict=True):
        lengths = [data.found[path, workload, metric].value for path in paths]
        parts = [{r: sums.get((workload, path, r), 0.0) for r in bar} for path in paths]
        for y, path in enumerate(paths):
            tell_row(axes, y, figure_in_words(data, (path, workload, metric)))
        _bars(axes, paths, lengths, parts, bar, data.unit(metric))
        for y, path in enumerate(paths):
            if (halted := data.found.get((path, workload, apart))) is not None:
                (made,) = axes.barh(y, halted.value, 0.62, lengths[y], **style.HALTING.keywords)
                hint(made, f"{path}: {_HALTING} {style.number(halted.value)} {data.unit(apart)}")
            dots(axes, data, (path, workload, metric), y, style.INK)
        finish_panel(axes, workload, paths)
    names = [*shown, "other"] if len(shown) < len(ranked) else list(shown)
    if apart:
        names.append(_HALTING)
    add_legend(figure, (_patches(fills[n] for n in names), names))
    idle_exits = (
        "Hatched and not filled, behind that and not in it: what halting (HLT, MWAIT) takes on a "
        "CPU, i.e. polling for the next interrupt, going to sleep, and back. Left out"
        if apart
        else "Idle exits (HLT, MWAIT) are left out, and so"
    )
    caption = (
        "A bar is as long as the path's estimate over boots and divided by each reason's share; "
        f"dots: the boots' totals. {idle_exits} are paths whose exits were not counted, such as "
        "one without a guest."
    )
    told = in_words(data, [(w, metric) for w in panels])
    return figure, Drawn(name, title, caption, told, figure.get_figheight())


def data_reasons(data: Data) -> list[str]:
    """All reasons of the run, the most frequent first: the order in which colours are given."""
    totals = data.exits.groupby("reason")["per_packet"].sum().sort_values(ascending=False)
    return [str(reason) for reason in totals.index]


def _bars(
    axes: Axes,
    paths: Sequence[str],
    lengths: Sequence[float],
    parts: Sequence[Mapping[str, float]],
    fills: Mapping[str, style.Fill],
    unit: str,
) -> None:
    """A bar a path, divided by the shares of its parts, in the order of the fillings."""
    sums = [sum(each.values()) for each in parts]
    scales = np.divide(lengths, sums, out=np.zeros(len(parts)), where=np.array(sums) > 0)
    left = np.zeros(len(parts))
    for name, how in fills.items():
        widths = scales * [each.get(name, 0.0) for each in parts]
        (there,) = widths.nonzero()
        made = axes.barh(there, widths[there], 0.62, left[there], linewidth=0.6, **how.keywords)
        for y, part in zip(there.tolist(), made, strict=True):
            share = 100 * widths[y] / lengths[y]
            value = style.number(float(widths[y]))
            hint(part, f"{paths[y]}: {name} {value} {unit}, {share:.0f} % of the bar")
        left += widths


def _patches(fills: Iterable[style.Fill]) -> list[Patch]:
    return [Patch(**fill.keywords) for fill in fills]
