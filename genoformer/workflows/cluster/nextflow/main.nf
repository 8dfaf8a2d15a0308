// Corrected reads with Nextflow: shards in parallel, then one file and a report.
//
//     nextflow run main.nf --subreads subreads_to_ccs.bam --ccs ccs.bam --shards 100 -profile gpu
//
// The modules have the form of nf-core's and can be copied into a pipeline of one's own.

include { GENOFORMER_CORRECT } from './modules/genoformer/correct/main'
include { GENOFORMER_JOIN    } from './modules/genoformer/join/main'

params.subreads = null
params.ccs = null
params.model = null
params.shards = 10
params.id = 'corrected'

workflow {
    if (!params.subreads || !params.ccs) {
        error "--subreads and --ccs name the two BAM files"
    }
    def subreads = file(params.subreads, checkIfExists: true)
    def ccs = file(params.ccs, checkIfExists: true)
    def model = params.model ? file(params.model, checkIfExists: true) : []
    def shards = channel.of(1..params.shards).map { shard -> [[id: params.id], subreads, ccs, shard, params.shards] }

    GENOFORMER_CORRECT(shards, model)
    GENOFORMER_JOIN(
        GENOFORMER_CORRECT.out.bam.groupTuple(size: params.shards)
            .join(GENOFORMER_CORRECT.out.summary.groupTuple(size: params.shards))
    )
}
