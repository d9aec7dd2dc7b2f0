"""Infer: what trained members say about all cells.

REQUIRED INPUTS: results/train/…/s{shard}/, results/data/{dataset}/r*.h5ad, parts.parquet, train.h5ad
(for its genes); truth for positive controls
OUTPUTS: results/infer/{dataset}/{split}/{model}/s{shard}/ with a folder per member
"""


rule infer:
    """Write latents, targets and likelihoods of the members of one shard."""
    input:
        model="results/train/{dataset}/{split}/{model}/s{shard}/model.pt",
        members="results/train/{dataset}/{split}/{model}/s{shard}/members.parquet",
        status="results/train/{dataset}/{split}/{model}/s{shard}/status.json",
        data=data_files,
        parts="results/split/{dataset}/{split}/parts.parquet",
        genes="results/split/{dataset}/{split}/train.h5ad",
        truth=truth_if_control,
    output:
        folder=directory("results/infer/{dataset}/{split}/{model}/s{shard}"),
    log:
        "logs/infer/{dataset}/{split}/{model}/s{shard}.log",
    benchmark:
        "benchmarks/infer/{dataset}/{split}/{model}/s{shard}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=grow(4000),
        runtime=lengthen(60),
        gpu=0,
        attempt=this_attempt,
    params:
        spec=told("infer"),
        attempts=PLAN.config.attempts,
        train=folder_trained,
    message:
        "infer {wildcards.model} on {wildcards.dataset}/{wildcards.split}, shard {wildcards.shard}"
    shell:
        "python -m scident infer --spec {params.spec:q} --train {params.train:q} --parts {input.parts:q}"
        " --out {output.folder:q} --attempt {resources.attempt} --attempts {params.attempts}"
        " {input.data:q} {input.truth:q} > {log:q} 2>&1"
