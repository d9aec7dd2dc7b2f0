"""Report: one file that says who recovers what, and how certain that is.

REQUIRED INPUTS: results/aggregate/*.parquet
OUTPUTS: results/report/index.html, tables/*.csv, figures/*.svg
"""


rule report:
    """Write the report."""
    input:
        tables=rules.aggregate.output.tables,
    output:
        page=report(
            "results/report/index.html",
            caption="../report/index.rst",
            category="Benchmark",
        ),
        tables=directory("results/report/tables"),
        figures=report(
            directory("results/report/figures"),
            patterns=["{name}.svg"],
            caption="../report/figures.rst",
            category="Figures",
        ),
    log:
        "logs/report.log",
    benchmark:
        "benchmarks/report.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=lengthen(30),
        gpu=0,
    params:
        config=CONFIG_JSON,
        code=configuration.registry.stage_digest("report"),
    message:
        "write the report"
    shell:
        "python -m scident report --config {params.config:q} --aggregate results/aggregate"
        " --out results/report > {log:q} 2>&1"
