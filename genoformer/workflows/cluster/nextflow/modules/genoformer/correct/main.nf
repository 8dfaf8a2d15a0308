process GENOFORMER_CORRECT {
    tag "${meta.id}"
    label 'process_high'

    conda "${moduleDir}/environment.yml"

    input:
    tuple val(meta), path(subreads), path(ccs), val(shard), val(num_shards)
    path model

    output:
    tuple val(meta), path("*.bam"),          emit: bam
    tuple val(meta), path("*.summary.json"), emit: summary
    tuple val("${task.process}"), val('genoformer'), eval("genoformer --version | sed 's/genoformer //'"), topic: versions, emit: versions_genoformer

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def prefix = task.ext.prefix ?: "${meta.id}"
    def name = String.format('%s.%05d-of-%05d.bam', prefix, shard, num_shards)
    // The module takes the accelerator that the pipeline gives it and asks for none itself.
    def device = task.accelerator ? (task.accelerator.request > 1 ? '--device all' : '--device cuda') : '--device cpu'
    def weights = model ? "--model ${model}" : ''
    """
    genoformer consensus correct \\
        ${subreads} ${ccs} \\
        -o ${name} \\
        --shard ${shard}/${num_shards} \\
        --threads ${task.cpus} \\
        ${device} ${weights} \\
        ${args}
    """

    stub:
    def prefix = task.ext.prefix ?: "${meta.id}"
    def name = String.format('%s.%05d-of-%05d.bam', prefix, shard, num_shards)
    """
    touch ${name} ${name}.summary.json
    """
}
