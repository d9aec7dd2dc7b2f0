"""scident: identifiability and out-of-domain benchmark of single-cell perturbation models."""

from snakemake.utils import min_version

min_version("9.27")


if (
    not workflow.config_settings.configfiles
):  # a --configfile replaces the default, it is not merged into it

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/hooks.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/split.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/infer.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/report.smk"


localrules:
    all,


rule all:
    """The report, and everything it needs."""
    input:
        "results/report/index.html",


onsuccess:
    finish()


onerror:
    report_what_there_is()
