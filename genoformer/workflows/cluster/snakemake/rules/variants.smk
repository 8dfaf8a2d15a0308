# Effects of the variants of a VCF file on tracks.


rule score:
    input:
        variants=config["variants"],
        genome=config["genome"],
    output:
        shard=SHARD,
        summary=f"{SHARD}.summary.json",
    params:
        shard=shard_of,
    threads: config["threads"]
    resources:
        **GPUS,
    shell:
        "genoformer variants score {input.variants} {input.genome} {MODEL} -o {output.shard} {params.shard} "
        "-t {threads} {config[flags]}"
