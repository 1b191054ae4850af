"""The table of all results."""

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.accelerated.sections import Sections, sound, todays, usual_graphs

SHOWN_OPERATIONS = 3

Row = tuple[str, str, str, str, str]
HEADINGS: Row = ("section", "what", "form", "result", "note")


def rows(sections: Sections) -> list[Row]:
    """All results, section by section; then what failed and what was skipped."""
    found = [
        *_correctness(sections),
        *_repeats(sections),
        *_forms(sections),
        *_steps(sections),
        *_graphs(sections),
        *_longest(sections),
        *_dispatch(sections),
        *_whole(sections),
    ]
    for name, section in sections.items():
        for r in section.get("records", ()):
            if "failed" in r:
                what = ", ".join(
                    str(v) for k, v in r.items() if k not in ("failed", "changes")
                )
                found.append((name, what, "", "failed", str(r["failed"])[:100]))
        skipped = [x["what"] for x in section.get("skipped", ())]
        if skipped:
            some = "; ".join(skipped[:3]) + ("; ..." if len(skipped) > 3 else "")
            found.append((name, f"{len(skipped)} not measured", "", "skipped", some))
        if section.get("ended"):
            found.append((name, "the section", "", "ended early", section["ended"]))
    return found


def _correctness(sections: Sections) -> Iterable[Row]:
    by_precision: dict[str, list[Mapping[str, Any]]] = {}
    for r in sound(sections, "correctness"):
        by_precision.setdefault(r["precision"], []).append(r)
    for precision, group in by_precision.items():
        right = sum(r["right"] for r in group)
        loss, gradient = (
            max(float(r[k]) for r in group) for k in ("loss_gap", "gradient_gap")
        )
        result = f"{right} of {len(group)} right"
        note = f"largest differences {loss:.1e} (loss), {gradient:.1e} (gradients)"
        yield "correctness", "all cases", precision, result, note
        for r in group:
            if not r["right"]:
                gap = f"{float(r['loss_gap']):.1e}, {float(r['gradient_gap']):.1e}"
                yield "correctness", r["case"], precision, "**wrong**", gap


def _repeats(sections: Sections) -> Iterable[Row]:
    flagged = {r["method"]: r for r in sound(sections, "repeats_flags")}
    for r in sound(sections, "repeats"):
        yield (
            "repeats", r["method"], "no flags", _same(r), f"{r['seconds']:.3g} s",
        )  # fmt: skip
        other = flagged.get(r["method"])
        if other is None:
            continue
        form = other["xla_flags"] or "another process"
        ratio = other["seconds"] / r["seconds"]
        agree = "the same" if other["digest"] == r["digest"] else "other"
        note = f"{other['seconds']:.3g} s, ratio {ratio:.2f}; {agree} bits as without"
        yield "repeats", r["method"], form, _same(other), note


def _same(record: Mapping[str, Any]) -> str:
    return "same bits twice" if record["same_bits"] else "**other bits**"


def _forms(sections: Sections) -> Iterable[Row]:
    usual = todays(sections)
    for r in sound(sections, "forms"):
        today = usual.get(r["primitive"])
        ratio = f"ratio {r['seconds'] / today:.2f}, " if today else ""
        note = f"{ratio}temporaries {r['temp_mb']:.0f} MB"
        yield "forms", r["primitive"], r["form"], f"{r['seconds']:.3g} s", note


def _steps(sections: Sections) -> Iterable[Row]:
    for r in sound(sections, "steps"):
        note = (
            f"compiled in {r['compile_seconds']:.1f} s; {r['temp_mb']:.0f} MB "
            f"temporaries, {r['in_use_mb']:.0f} MB in use"
        )
        if r["gflops"]:
            note += f"; {r['gflops']:.0f} GFLOP/s"
        theirs = r.get("pytorch", {})
        if "seconds" in theirs:
            note += f"; PyTorch {theirs['seconds']:.3g} s, ratio {r['ratio']:.2f}"
        elif "failed" in theirs:
            note += f"; PyTorch failed: {theirs['failed'][:60]}"
        yield "steps", r["method"], f"ipc {r['ipc']}", f"{r['seconds']:.3g} s", note


def _graphs(sections: Sections) -> Iterable[Row]:
    usual = usual_graphs(sections)
    for r in sound(sections, "graphs"):
        beside = usual.get(r["method"])
        ratio = f"ratio {r['seconds'] / beside:.2f}, " if beside else ""
        note = f"{ratio}compiled in {r['compile_seconds']:.1f} s"
        if r["gap"] is not None:
            note += f"; images differ by {float(r['gap']):.1e}"
        yield "graphs", r["method"], r["graphs"], f"{r['seconds']:.3g} s", note


def _longest(sections: Sections) -> Iterable[Row]:
    for r in sound(sections, "longest"):
        kinds = ", ".join(f"{k} {v:.0%}" for k, v in list(r["shares"].items())[:4])
        note = f"{r['busy']:.0%} of the time at work; {kinds}"
        yield "longest", r["method"], "all", f"{r['operations']} operations", note
        for one in r["longest"][:SHOWN_OPERATIONS]:
            note = f"{one['count']} times; {one['source'][-60:]}".replace("|", "/")
            yield "longest", r["method"], one["name"], f"{one['share']:.0%}", note


def _dispatch(sections: Sections) -> Iterable[Row]:
    for r in sound(sections, "dispatch"):
        result = f"{r['seconds_per_step']:.3g} s/step"
        yield "dispatch", r["method"], f"{r['steps']} steps", result, ""


def _whole(sections: Sections) -> Iterable[Row]:
    for r in sound(sections, "whole"):
        summary = r["summary"]
        made, random = summary["distilled"], summary["random"]
        note = (
            f"accuracy {made['mean']:.2f} %, of random images {random['mean']:.2f} %; "
            f"{summary['seconds_per_step']:.3g} s per step, "
            f"{summary['compile_seconds']:.3g} s compiling, "
            f"{summary['evaluation_seconds']:.3g} s evaluation"
        )
        form = f"distill, {r['steps']} steps"
        yield "whole", f"MNIST {r['method']}", form, f"{r['wall_seconds']:.1f} s", note


def markdown(rows: Iterable[Row]) -> str:
    """Rows as Markdown."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    lines += ["| " + " | ".join(x.replace("|", "/") for x in r) + " |" for r in rows]
    return "\n".join([*lines, ""])
