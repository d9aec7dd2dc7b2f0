"""One look for every figure and table: colours, names of things, number formats, and how a figure becomes SVG."""

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

INK = "#1b1f24"
QUIET = "#5d6570"
RULE = "#d5dae0"
FLOOR = "#e9ecef"

ROLES = {
    "method": "Methods",
    "ablation": "Ablations",
    "baseline": "Baselines",
    "positive_control": "Positive controls",
    "negative_control": "Negative controls",
}
"""Role -> heading, in reading order."""

_PALETTE = sns.color_palette("colorblind").as_hex()
ROLE_COLOURS = {
    "method": _PALETTE[0],
    "ablation": _PALETTE[4],
    "baseline": _PALETTE[3],
    "positive_control": _PALETTE[2],
    "negative_control": "#70777f",
}
MODEL_COLOURS = [_PALETTE[i] for i in (0, 1, 2, 3, 4, 5, 9)]

SCOPES = {
    "iid": "new cells of seen conditions",
    "ood": "held-out conditions",
    "insample": "the training cells themselves (legacy)",
    "val": "validation cells",
}

ARROWS = {"higher": "↑", "lower": "↓", "neither": "·"}

REASONS = {
    "no_truth": "the dataset comes without true latents",
    "no_targets": "the model names no targets",
    "no_latents": "the model gives no latents",
    "causal_learn_missing": "the package causal-learn is not installed",
    "constant_block": "a block of the latents does not vary",
    "no_blocks": "the latents have no blocks",
    "no_prediction": "no prediction of this kind, or nobody asked for one",
    "incomplete_prediction": "some of the conditions that others are scored on are not predicted",
    "weak_response": "the response is not told from noise, so nothing is measured against it",
    "no_other_half": "the split leaves no cells of these conditions that are neither trained on nor scored",
    "no_panel": "no cells but the scored ones from which to choose genes",
    "no_control": "the context has no control cells to compare with",
    "no_world": "the truth came with a file, so the decoder is unknown",
    "split_undefined": "not defined on these cells under this split",
    "one_perturbation": "the cells have one perturbation, so there is nothing to tell apart",
    "too_few_cells": "fewer cells than the score needs",
    "single_seed": "needs several seeds",
    "no_likelihood": "the model has no likelihood of its own",
    "member_failed": "a seed that would be compared failed",
    "no_output": "the job ended well but left no latents of this member",
    "outdated": "computed with another configuration or code; run again",
    "killed": "the job was stopped from outside or left nothing readable",
    "oom": "the job ran out of memory",
    "shape": "an output had the wrong shape",
    "exception": "the code raised an error",
    "nothing_to_fit": "its likelihood asks for no perturbation label, so nothing is fitted to held-out ones",
    "not_retrained": "only the selected grid point is trained a second time, for held-out perturbations",
    "variant_missing": "the metric left this variant out",
}
"""Status reasons of the score table in words."""


def explain(reason: str) -> str:
    """Say a status reason in words; an unknown one is returned as it is."""
    if reason.startswith("nonfinite_"):
        return f"NaN or infinity in {reason.removeprefix('nonfinite_')}"
    return REASONS.get(reason.partition(":")[0], reason)


def number(value: float) -> str:
    """Format a score: two decimals below 10, one above, with a true minus sign."""
    text = f"{value:.2f}" if abs(value) < 10 else f"{value:,.1f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def interval(low: float, high: float) -> str:
    """Format an interval as ``[low, high]``."""
    return f"[{number(low)}, {number(high)}]"


def signed(value: float) -> str:
    """Format a difference: a number with its sign."""
    text = number(value)
    return f"+{text}" if value > 0 and text != number(0.0) else text


def signed_interval(low: float, high: float) -> str:
    """Format the interval of a difference, both ends with their sign."""
    return f"[{signed(low)}, {signed(high)}]"


def plural(count: int, noun: str) -> str:
    """Return ``1 seed`` or ``2 seeds``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


@contextmanager
def look() -> Iterator[None]:
    """Give figures made inside the block the report's look; text stays text, equal input gives equal bytes."""
    settings: Mapping[str, object] = {
        **sns.axes_style("white"),
        "font.family": "DejaVu Sans",
        "font.size": 8.5,
        "axes.edgecolor": RULE,
        "axes.labelcolor": INK,
        "axes.labelsize": 8.5,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "text.color": INK,
        "xtick.color": QUIET,
        "ytick.color": QUIET,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8.5,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "svg.fonttype": "none",
        "svg.hashsalt": "scident",
    }
    with mpl.rc_context(dict(settings)):
        yield


def to_svg(figure: Figure, name: str, title: str) -> str:
    """Render a figure as an SVG element whose ids start with `name`, so that many fit in one page.

    Parameters
    ----------
    figure
        Made inside `look`; call this inside it too.
    name
        Prefix of every id; letters, digits, hyphens.
    title
        What the figure shows, for screen readers.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    text = text.replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans', sans-serif")
    label = escape(title, quote=True)
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1).rstrip() + "\n"
