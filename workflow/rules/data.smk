"""Data: one replicate of a dataset, simulated or loaded.

REQUIRED INPUTS: none (a simulator, or a file or address named in the config)
OUTPUTS: results/data/{dataset}/r{replicate}.h5ad, and r{replicate}.truth.h5ad where the truth is known
"""


rule data_with_truth:
    """Simulate a replicate (or load one that carries its truth) and put the truth into its own file."""
    input:
        source=source_file,
    output:
        data="results/data/{dataset}/r{replicate}.h5ad",
        truth="results/data/{dataset}/r{replicate}.truth.h5ad",
    log:
        "logs/data/{dataset}/r{replicate}.log",
    benchmark:
        "benchmarks/data/{dataset}/r{replicate}.tsv"
    wildcard_constraints:
        dataset=pattern(names_with_truth(True)),
    conda:
        "../../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=lengthen(30),
        gpu=0,
    params:
        spec=told("data"),
    message:
        "make {wildcards.dataset}, replicate {wildcards.replicate}"
    shell:
        "python -m scident data --spec {params.spec:q} --replicate {wildcards.replicate}"
        " --out {output.data:q} --truth {output.truth:q} > {log:q} 2>&1"


rule data_without_truth:
    """Load a replicate of a dataset whose latents nobody knows."""
    input:
        source=source_file,
    output:
        data="results/data/{dataset}/r{replicate}.h5ad",
    log:
        "logs/data/{dataset}/r{replicate}.log",
    benchmark:
        "benchmarks/data/{dataset}/r{replicate}.tsv"
    wildcard_constraints:
        dataset=pattern(names_with_truth(False)),
    conda:
        "../../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=grow(8000),  # a published screen is in memory once, as sparse counts
        runtime=lengthen(120),
        gpu=0,
    params:
        spec=told("data"),
    message:
        "load {wildcards.dataset}, replicate {wildcards.replicate}"
    shell:
        "python -m scident data --spec {params.spec:q} --replicate {wildcards.replicate}"
        " --out {output.data:q} > {log:q} 2>&1"
