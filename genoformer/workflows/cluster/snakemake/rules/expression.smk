# Tracks along the regions of a BED file.


rule predict:
    input:
        genome=config["genome"],
        regions=config["regions"],
    output:
        shard=SHARD,
        summary=f"{SHARD}.summary.json",
    params:
        shard=shard_of,
    threads: config["threads"]
    resources:
        **GPUS,
    shell:
        "genoformer expression predict {input.genome} {input.regions} {MODEL} -o {output.shard} {params.shard} "
        "-t {threads} {config[flags]}"
