"""Train: replicates, seeds and grid points of one model, together.

REQUIRED INPUTS: results/split/{dataset}/{split}/train.h5ad (no truth, no test cells)
OUTPUTS: results/train/{dataset}/{split}/{model}/s{shard}/ model.pt, members.parquet, history.parquet, status.json
"""


rule train:
    """Fit the members of one shard; a failure is written down, not raised."""
    input:
        data="results/split/{dataset}/{split}/train.h5ad",
    output:
        model="results/train/{dataset}/{split}/{model}/s{shard}/model.pt",
        members="results/train/{dataset}/{split}/{model}/s{shard}/members.parquet",
        history="results/train/{dataset}/{split}/{model}/s{shard}/history.parquet",
        status="results/train/{dataset}/{split}/{model}/s{shard}/status.json",
    log:
        "logs/train/{dataset}/{split}/{model}/s{shard}.log",
    benchmark:
        "benchmarks/train/{dataset}/{split}/{model}/s{shard}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=grow(4000),
        runtime=lengthen(240),
        gpu=0,
        attempt=this_attempt,
    params:
        spec=told("train"),
        attempts=PLAN.config.attempts,
        out=folder_of_status,
        checkpoints="results/checkpoints/{dataset}/{split}/{model}",
    message:
        "train {wildcards.model} on {wildcards.dataset}/{wildcards.split}, shard {wildcards.shard}"
    shell:
        "python -m scident train --spec {params.spec:q} --data {input.data:q} --out {params.out:q}"
        " --checkpoints {params.checkpoints:q} --attempt {resources.attempt}"
        " --attempts {params.attempts} > {log:q} 2>&1"
