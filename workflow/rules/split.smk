"""Split: which cells train, steer, fit a metric's maps and are scored.

REQUIRED INPUTS: results/data/{dataset}/r*.h5ad
OUTPUTS: results/split/{dataset}/{split}/parts.parquet, parts.sha256, train.h5ad
"""


rule split:
    """Cut all replicates; train.h5ad holds training and validation cells and nothing else."""
    input:
        data=data_files,
    output:
        parts="results/split/{dataset}/{split}/parts.parquet",
        digest="results/split/{dataset}/{split}/parts.sha256",
        train="results/split/{dataset}/{split}/train.h5ad",
    log:
        "logs/split/{dataset}/{split}.log",
    benchmark:
        "benchmarks/split/{dataset}/{split}.tsv"
    conda:
        "../../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=grow(4000),
        runtime=lengthen(60),
        gpu=0,
    params:
        spec=told("split"),
    message:
        "cut {wildcards.dataset} by {wildcards.split}"
    shell:
        "python -m scident split --spec {params.spec:q} --parts {output.parts:q}"
        " --train {output.train:q} --digest {output.digest:q} {input.data:q} > {log:q} 2>&1"
