"""Aggregate: the whole benchmark in nine tables.

REQUIRED INPUTS: results/score/**.parquet (and, beside them, histories, statuses, benchmarks)
OUTPUTS: results/aggregate/ scores, summary, ranks, selected, costs, aligned, curves, grid, differences (.parquet)
"""


rule aggregate:
    """Gather scores, put intervals on them, compare methods, select grid points, add up costs."""
    input:
        scores=score_files,
    output:
        tables=expand(
            "results/aggregate/{table}.parquet",
            table=[
                "scores",
                "summary",
                "ranks",
                "selected",
                "costs",
                "aligned",
                "curves",
                "grid",
                "differences",
            ],
        ),
    log:
        "logs/aggregate.log",
    benchmark:
        "benchmarks/aggregate.tsv"
    conda:
        "../../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=lengthen(30),
        gpu=0,
    params:
        config=CONFIG_JSON,
        code=configuration.registry.stage_digest("aggregate"),
    message:
        "aggregate all scores"
    shell:
        "python -m scident aggregate --config {params.config:q} --results results"
        " --out results/aggregate > {log:q} 2>&1"
