process GENOFORMER_JOIN {
    tag "${meta.id}"
    label 'process_single'

    conda "${moduleDir}/environment.yml"

    input:
    tuple val(meta), path(shards), path(summaries)

    output:
    tuple val(meta), path("${prefix}.bam"),              emit: bam
    tuple val(meta), path("${prefix}.bam.summary.json"), emit: summary
    tuple val(meta), path("${prefix}.report.html"),      emit: report
    path "*_mqc.json",                                   emit: multiqc
    tuple val("${task.process}"), val('genoformer'), eval("genoformer --version | sed 's/genoformer //'"), topic: versions, emit: versions_genoformer

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    genoformer consensus join ${shards} -o ${prefix}.bam ${args}
    genoformer report ${prefix}.bam -o ${prefix}.report.html --multiqc .
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    touch ${prefix}.bam ${prefix}.bam.summary.json ${prefix}.report.html ${prefix}.stats_mqc.json
    """
}
