"""Score: every metric on every member and scope.

REQUIRED INPUTS: results/infer/{dataset}/{split}/{model}/s*/, data, parts.parquet, train.h5ad (for its genes);
truth where it is known
OUTPUTS: results/score/{dataset}/{split}/{model}.parquet and {model}.aligned.parquet
"""


rule score:
    """Write the tidy rows of one model on one split, and its target matrix beside the true one."""
    input:
        infer=infer_folders,
        data=data_files,
        parts="results/split/{dataset}/{split}/parts.parquet",
        genes="results/split/{dataset}/{split}/train.h5ad",
        truth=truth_files,
    output:
        scores="results/score/{dataset}/{split}/{model}.parquet",
        aligned="results/score/{dataset}/{split}/{model}.aligned.parquet",
    log:
        "logs/score/{dataset}/{split}/{model}.log",
    benchmark:
        "benchmarks/score/{dataset}/{split}/{model}.tsv"
    conda:
        "../../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=lengthen(60),
        gpu=0,
        attempt=this_attempt,
    params:
        spec=told("score"),
        attempts=PLAN.config.attempts,
        infer=folder_of_shards,
    message:
        "score {wildcards.model} on {wildcards.dataset}/{wildcards.split}"
    shell:
        "python -m scident score --spec {params.spec:q} --infer {params.infer:q} --parts {input.parts:q}"
        " --out {output.scores:q} --aligned {output.aligned:q} --attempt {resources.attempt}"
        " --attempts {params.attempts} {input.data:q} {input.truth:q} > {log:q} 2>&1"
