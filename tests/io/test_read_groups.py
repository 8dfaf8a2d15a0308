from genoformer.io.read_groups import ccs_read_groups, read_group_id

SUBREADS = "READTYPE=SUBREAD;Ipd:CodecV1=ip;PulseWidth:CodecV1=pw;DeletionQV=dq;BINDINGKIT=101;FRAMERATEHZ=100.000000"


def test_ids_of_a_real_movie():
    """From the headers of real files."""
    assert read_group_id("m54238_180901_011437", "SUBREAD") == "301e4efa"
    assert read_group_id("m54238_180901_011437", "CCS") == "231b5401"


def test_a_group_of_subreads_becomes_one_of_ccs_reads():
    text, ids = ccs_read_groups(
        f"@HD\tVN:1.5\n@RG\tID:c0ffee00\tPL:PACBIO\tDS:{SUBREADS}\tPU:m1\tPM:SEQUEL\n@PG\tID:x\n"
    )
    own = read_group_id("m1", "CCS")
    assert ids == {"m1": own}
    assert text.splitlines() == [
        "@HD\tVN:1.5",
        f"@RG\tID:{own}\tPL:PACBIO\tDS:READTYPE=CCS;BINDINGKIT=101;FRAMERATEHZ=100.000000\tPU:m1\tPM:SEQUEL",
        "@PG\tID:x",
    ]


def test_barcodes_of_a_movie_share_a_group_and_movies_do_not():
    lines = [f"@RG\tID:{number}\tPU:{movie}\tBC:{barcode}" for number, movie, barcode in
             ((1, "m1", "ACGT"), (2, "m1", "TTTT"), (3, "m2", "ACGT"))]  # fmt: skip
    text, ids = ccs_read_groups("\n".join(lines))
    assert ids == {movie: read_group_id(movie, "CCS") for movie in ("m1", "m2")}
    assert text.splitlines() == [f"@RG\tID:{ids[movie]}\tPU:{movie}\tDS:READTYPE=CCS" for movie in ("m1", "m2")]


def test_without_groups():
    assert ccs_read_groups("@HD\tVN:1.5\n@RG\tID:1\n") == ("@HD\tVN:1.5\n@RG\tID:1\n", {})
