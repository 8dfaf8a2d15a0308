# Reads: raw subreads are aligned to their CCS reads, every shard is corrected, all are held against a truth.

CCS = config.get("ccs", [])
SUBREADS = config["subreads"] if config["aligned"] or not CCS else f"{OUT}.shards/subreads_to_ccs.bam"
COMMAND = f"correct {SUBREADS} {CCS}" if CCS else f"run {SUBREADS}"


rule align:
    input:
        subreads=config["subreads"],
        ccs=CCS,
    output:
        f"{OUT}.shards/subreads_to_ccs.bam",
    threads: config["threads"]
    shell:
        "genoformer consensus align {input.subreads} {input.ccs} -o {output} -t {threads}"


rule correct:
    input:
        SUBREADS,
        CCS,
    output:
        shard=SHARD,
        summary=f"{SHARD}.summary.json",
    params:
        shard=shard_of,
    threads: config["threads"]
    resources:
        **GPUS,
    shell:
        "genoformer consensus {COMMAND} -o {output.shard} {params.shard} -t {threads} {MODEL} {config[flags]}"


rule assess:
    input:
        reads=WHOLE,
        ccs=CCS,
        truth=config.get("truth", []),
    output:
        f"{OUT}.assessment.html",
    threads: config["threads"]
    shell:
        "genoformer consensus assess {input.reads} {input.ccs} --truth {input.truth} -t {threads} -o {output}"
